//! `fermyon:spin/llm@2.0.0`: embeddings from a local model. One model for the process, loaded when first needed, behind
//! one mutex; a call blocks every other request of the instance. Inferencing is refused.

use crate::bindings::fermyon::spin::llm as wit;
use crate::instance::InstanceState;
use std::path::PathBuf;
use std::sync::Arc;
use tokio::sync::Mutex;
use tokio::task::spawn_blocking;

/// The one model that generates embeddings.
const EMBEDDING_MODEL: &str = "all-minilm-l6-v2";

/// The models in a directory.
pub struct Models {
    directory: PathBuf,
    embedder: Mutex<Option<Arc<minilm::Embedder>>>,
}

impl std::fmt::Debug for Models {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Models").field("directory", &self.directory).finish_non_exhaustive()
    }
}

impl Models {
    /// The models under `directory`, which need not exist.
    pub fn new(directory: PathBuf) -> Self {
        Self { directory, embedder: Mutex::new(None) }
    }

    async fn embed(&self, model: &str, texts: Vec<String>) -> Result<wit::EmbeddingsResult, wit::Error> {
        let mut slot = self.embedder.lock().await;
        if model != EMBEDDING_MODEL {
            return Err(wit::Error::ModelNotSupported);
        }
        let embedder = match &*slot {
            Some(embedder) => embedder.clone(),
            None => slot.insert(self.load(model).await?).clone(),
        };
        // The mutex is held until the end: Spin does one call at a time.
        spawn_blocking(move || embed_each(&embedder, &texts)).await.map_err(failed)?.map_err(failed)
    }

    async fn load(&self, model: &str) -> Result<Arc<minilm::Embedder>, wit::Error> {
        let directory = self.directory.join(model);
        if !directory.exists() {
            return Err(wit::Error::RuntimeError(format!(
                "The directory expected to house the embeddings models '{}' does not exist.",
                directory.display()
            )));
        }
        let embedder = spawn_blocking(move || {
            minilm::Embedder::load(&directory).map_err(|error| {
                wit::Error::RuntimeError(format!(
                    "Failed to load embeddings model from '{}': {error}",
                    directory.display()
                ))
            })
        })
        .await
        .map_err(failed)??;
        Ok(Arc::new(embedder))
    }
}

/// Each text by itself. Spin pads a batch to its longest text and counts the padding; of one text the count is the same.
fn embed_each(embedder: &minilm::Embedder, texts: &[String]) -> Result<wit::EmbeddingsResult, minilm::Error> {
    let mut result = wit::EmbeddingsResult {
        embeddings: Vec::new(),
        usage: wit::EmbeddingsUsage { prompt_token_count: 0 },
    };
    for text in texts {
        result.embeddings.push(embedder.embed(text)?);
        let tokens = u32::try_from(embedder.token_count(text)?).unwrap_or(u32::MAX);
        result.usage.prompt_token_count = result.usage.prompt_token_count.saturating_add(tokens);
    }
    Ok(result)
}

fn failed(error: impl std::fmt::Display) -> wit::Error {
    wit::Error::RuntimeError(format!("Error occurred generating embeddings: {error}"))
}

impl InstanceState {
    fn check_model(&self, model: &str) -> Result<(), wit::Error> {
        if self.component.ai_models.contains(model) {
            return Ok(());
        }
        Err(wit::Error::InvalidInput(format!(
            "The component does not have access to use '{model}'. To give the component access, add '{model}' to \
             the 'ai_models' key for the component in your spin.toml manifest"
        )))
    }
}

impl wit::Host for InstanceState {
    async fn infer(
        &mut self,
        model: String,
        _prompt: String,
        _params: Option<wit::InferencingParams>,
    ) -> Result<wit::InferencingResult, wit::Error> {
        self.check_model(&model)?;
        Err(wit::Error::RuntimeError("dev-host does not support inferencing, only embeddings".to_owned()))
    }

    async fn generate_embeddings(
        &mut self,
        model: String,
        texts: Vec<String>,
    ) -> Result<wit::EmbeddingsResult, wit::Error> {
        self.check_model(&model)?;
        self.component.models.embed(&model, texts).await
    }

    fn convert_error(&mut self, error: wit::Error) -> wasmtime::Result<wit::Error> {
        Ok(error)
    }
}
