//! BERT's encoder, as much of it as one text without padding needs: no mask, no second segment, no dropout.
//!
//! Written out because the libraries that have it take longer to compile than the host's own code does. The names are those of the
//! published file, the structure is that of
//! <https://github.com/huggingface/transformers/blob/main/src/transformers/models/bert/modeling_bert.py>.

use std::f32::consts::FRAC_2_PI;

use ndarray::{Array1, Array2, ArrayView2, ArrayViewMut1, Axis, Slice};
use safetensors::tensor::{Dtype, SafeTensors};

use crate::error::WeightsError;
use crate::{DIMENSIONS, MAX_TOKENS};

/// The sizes of <https://huggingface.co/sentence-transformers/all-MiniLM-L6-v2/blob/main/config.json>.
pub const VOCABULARY: usize = 30_522;
const POSITIONS: usize = 512;
const SEGMENTS: usize = 2;
const LAYERS: usize = 6;
const HEADS: usize = 12;
const HEAD_WIDTH: usize = DIMENSIONS / HEADS;
const INTERMEDIATE: usize = 1536;
const LAYER_NORM_EPSILON: f32 = 1e-12;

/// The nonlinearity between the two halves of a layer's feed-forward network.
pub type Activation = fn(f32) -> f32;

/// GELU by its approximation with tanh.
pub fn gelu_tanh(x: f32) -> f32 {
    0.5 * x * (1.0 + (FRAC_2_PI.sqrt() * (x + 0.044_715 * x * x * x)).tanh())
}

/// The weights, each matrix as the file has it: a row for every output.
pub struct Bert {
    words: Array2<f32>,
    /// With the first segment's embedding added, the only one there is.
    positions: Array2<f32>,
    norm: LayerNorm,
    layers: Vec<Layer>,
    activation: Activation,
}

impl Bert {
    pub fn load(file: &[u8], activation: Activation) -> Result<Self, WeightsError> {
        let file = SafeTensors::deserialize(file)?;
        let segments = matrix(&file, "embeddings.token_type_embeddings.weight", [SEGMENTS, DIMENSIONS])?;
        let positions = matrix(&file, "embeddings.position_embeddings.weight", [POSITIONS, DIMENSIONS])?;
        Ok(Self {
            words: matrix(&file, "embeddings.word_embeddings.weight", [VOCABULARY, DIMENSIONS])?,
            positions: &rows(&positions, MAX_TOKENS) + &segments.row(0),
            norm: LayerNorm::load(&file, "embeddings.LayerNorm")?,
            layers: (0..LAYERS).map(|layer| Layer::load(&file, layer)).collect::<Result<_, _>>()?,
            activation,
        })
    }

    /// The last layer's state: a row for each token.
    ///
    /// `ids` are at most [`MAX_TOKENS`], each below [`VOCABULARY`].
    pub fn forward(&self, ids: &[usize]) -> Array2<f32> {
        let mut state = self.words.select(Axis(0), ids) + rows(&self.positions, ids.len());
        self.norm.apply(&mut state);
        for layer in &self.layers {
            layer.apply(&mut state, self.activation);
        }
        state
    }
}

struct Layer {
    query: Linear,
    key: Linear,
    value: Linear,
    attended: Linear,
    attended_norm: LayerNorm,
    intermediate: Linear,
    output: Linear,
    output_norm: LayerNorm,
}

impl Layer {
    fn load(file: &SafeTensors, number: usize) -> Result<Self, WeightsError> {
        let linear = |name: &str, outputs, inputs| {
            Linear::load(file, &format!("encoder.layer.{number}.{name}"), [outputs, inputs])
        };
        let norm = |name: &str| LayerNorm::load(file, &format!("encoder.layer.{number}.{name}"));
        Ok(Self {
            query: linear("attention.self.query", DIMENSIONS, DIMENSIONS)?,
            key: linear("attention.self.key", DIMENSIONS, DIMENSIONS)?,
            value: linear("attention.self.value", DIMENSIONS, DIMENSIONS)?,
            attended: linear("attention.output.dense", DIMENSIONS, DIMENSIONS)?,
            attended_norm: norm("attention.output.LayerNorm")?,
            intermediate: linear("intermediate.dense", INTERMEDIATE, DIMENSIONS)?,
            output: linear("output.dense", DIMENSIONS, INTERMEDIATE)?,
            output_norm: norm("output.LayerNorm")?,
        })
    }

    fn apply(&self, state: &mut Array2<f32>, activation: Activation) {
        *state += &self.attended.apply(&self.attention(state));
        self.attended_norm.apply(state);
        let mut inner = self.intermediate.apply(state);
        inner.mapv_inplace(activation);
        *state += &self.output.apply(&inner);
        self.output_norm.apply(state);
    }

    fn attention(&self, state: &Array2<f32>) -> Array2<f32> {
        let (query, key, value) = (self.query.apply(state), self.key.apply(state), self.value.apply(state));
        let mut context = Array2::zeros(state.dim());
        for head in 0..HEADS {
            let columns = Slice::from(head * HEAD_WIDTH..(head + 1) * HEAD_WIDTH);
            let mut weights = query.slice_axis(Axis(1), columns).dot(&key.slice_axis(Axis(1), columns).t());
            weights /= (HEAD_WIDTH as f32).sqrt();
            weights.rows_mut().into_iter().for_each(softmax);
            context
                .slice_axis_mut(Axis(1), columns)
                .assign(&weights.dot(&value.slice_axis(Axis(1), columns)));
        }
        context
    }
}

fn softmax(mut row: ArrayViewMut1<f32>) {
    let largest = row.fold(f32::NEG_INFINITY, |largest, x| largest.max(*x));
    row.mapv_inplace(|x| (x - largest).exp());
    let sum = row.sum();
    row /= sum;
}

struct Linear {
    weight: Array2<f32>,
    bias: Array1<f32>,
}

impl Linear {
    fn load(file: &SafeTensors, name: &str, [outputs, inputs]: [usize; 2]) -> Result<Self, WeightsError> {
        Ok(Self {
            weight: matrix(file, &format!("{name}.weight"), [outputs, inputs])?,
            bias: vector(file, &format!("{name}.bias"), outputs)?,
        })
    }

    fn apply(&self, input: &Array2<f32>) -> Array2<f32> {
        input.dot(&self.weight.t()) + &self.bias
    }
}

struct LayerNorm {
    weight: Array1<f32>,
    bias: Array1<f32>,
}

impl LayerNorm {
    fn load(file: &SafeTensors, name: &str) -> Result<Self, WeightsError> {
        Ok(Self {
            weight: vector(file, &format!("{name}.weight"), DIMENSIONS)?,
            bias: vector(file, &format!("{name}.bias"), DIMENSIONS)?,
        })
    }

    fn apply(&self, state: &mut Array2<f32>) {
        for mut row in state.rows_mut() {
            let mean = row.sum() / DIMENSIONS as f32;
            row -= mean;
            let variance = row.dot(&row) / DIMENSIONS as f32;
            row /= (variance + LAYER_NORM_EPSILON).sqrt();
            row *= &self.weight;
            row += &self.bias;
        }
    }
}

fn rows(matrix: &Array2<f32>, first: usize) -> ArrayView2<'_, f32> {
    matrix.slice_axis(Axis(0), Slice::from(..first))
}

fn matrix(file: &SafeTensors, name: &str, shape: [usize; 2]) -> Result<Array2<f32>, WeightsError> {
    Ok(Array2::from_shape_vec(shape, floats(file, name, &shape)?)?)
}

fn vector(file: &SafeTensors, name: &str, length: usize) -> Result<Array1<f32>, WeightsError> {
    Ok(floats(file, name, &[length])?.into())
}

fn floats(file: &SafeTensors, name: &str, wanted: &[usize]) -> Result<Vec<f32>, WeightsError> {
    let tensor = file.tensor(name)?;
    if tensor.dtype() != Dtype::F32 || tensor.shape() != wanted {
        let (name, wanted) = (name.to_owned(), wanted.to_vec());
        return Err(WeightsError::Tensor {
            name,
            dtype: tensor.dtype(),
            shape: tensor.shape().to_vec(),
            wanted,
        });
    }
    let (chunks, _) = tensor.data().as_chunks::<4>();
    Ok(chunks.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect())
}
