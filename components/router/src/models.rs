//! `GET /v1/models` and `GET /v1/models/{model}`: what the caller may ask for.

use crate::authorize;
use crate::error::Cause;
use crate::pools;
use crate::reply::Reply;
use gateway_config::{Consumer, RouterConfig};
use http::HeaderMap;
use percent_encoding::percent_decode_str;
use serde_json::{Value, json};

/// Lists the models that the caller may use, in the document's order. The catch-all `*` has no name to list.
pub async fn list(headers: &HeaderMap) -> Result<Reply, Cause> {
    let (config, consumer) = authorize::consumer(headers).await?;
    let data: Vec<Value> = named(config, consumer).map(model_object).collect();
    Ok(Reply::json(200, json!({"object": "list", "data": data}).to_string().into_bytes()))
}

/// One model, if the caller may use it, by its name or an alias, under the name that was asked for. `segment` is the rest of the
/// path as it came: clients encode the `/` in a name. A name that only the catch-all `*` takes is unknown: whether there is such
/// a model its provider knows.
pub async fn get(headers: &HeaderMap, segment: &str) -> Result<Reply, Cause> {
    let (config, consumer) = authorize::consumer(headers).await?;
    let model = percent_decode_str(segment).decode_utf8_lossy();
    let target = pools::fleet(config).target(&model).filter(|target| target.pool.model.name != "*");
    match target {
        Some(target) if consumer.may_use(target.name) => {
            Ok(Reply::json(200, model_object(&model).to_string().into_bytes()))
        }
        _ => Err(Cause::UnknownModel { model: model.into_owned() }),
    }
}

fn named<'a>(config: &'a RouterConfig, consumer: &'a Consumer) -> impl Iterator<Item = &'a str> {
    config.models.iter().map(|m| m.name.as_str()).filter(|&name| name != "*" && consumer.may_use(name))
}

/// `created` is 0: the document does not say when a model was made, and clients only display it.
fn model_object(name: &str) -> Value {
    json!({"id": name, "object": "model", "created": 0, "owned_by": "tollgate"})
}
