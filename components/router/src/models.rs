//! `GET /v1/models` and `GET /v1/models/{model}`: what the caller may ask for.

use crate::authorize;
use crate::error::Cause;
use crate::reply::Reply;
use gateway_config::{Consumer, RouterConfig};
use http::HeaderMap;
use serde_json::{Value, json};

/// Lists the models that the caller may use, in the document's order. The catch-all `*` has no name to list.
pub async fn list(headers: &HeaderMap) -> Result<Reply, Cause> {
    let (config, consumer) = authorize::consumer(headers).await?;
    let data: Vec<Value> = named(config, consumer).map(model_object).collect();
    Ok(Reply::json(200, json!({"object": "list", "data": data}).to_string().into_bytes()))
}

/// One model, if the caller may use it.
pub async fn get(headers: &HeaderMap, model: &str) -> Result<Reply, Cause> {
    let (config, consumer) = authorize::consumer(headers).await?;
    let name = named(config, consumer).find(|&name| name == model);
    let name = name.ok_or_else(|| Cause::UnknownModel { model: model.to_owned() })?;
    Ok(Reply::json(200, model_object(name).to_string().into_bytes()))
}

fn named<'a>(config: &'a RouterConfig, consumer: &'a Consumer) -> impl Iterator<Item = &'a str> {
    config.models.iter().map(|m| m.name.as_str()).filter(|&name| name != "*" && consumer.may_use(name))
}

/// `created` is 0: the document does not say when a model was made, and clients only display it.
fn model_object(name: &str) -> Value {
    json!({"id": name, "object": "model", "created": 0, "owned_by": "tollgate"})
}
