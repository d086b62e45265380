//! The cache's key of a request: the same for the same question, another for any other.

use cache_policy::json::Json;
use cache_policy::{CacheKey, Request, Tenant};

/// Takes the bytes as a request, and makes equal and unequal ones of it.
pub fn cache_key(data: &[u8]) {
    let Ok(request) = Request::parse(data) else { return };
    assert!(request.stream || !request.include_usage);
    let team = Tenant::Team("a");
    let key = CacheKey::of(team, "model", &request.fields);
    assert_eq!(CacheKey::parse(&key.to_string()), Some(key), "a key is read as it is printed");

    // The same fields in the opposite order, in compact form, with the delivery changed.
    let mut fields: Vec<_> = request.fields.iter().collect();
    fields.retain(|(name, _)| !matches!(*name, "stream" | "stream_options"));
    fields.reverse();
    let write = |extra: &str| {
        let mut text = String::from("{");
        for (name, value) in &fields {
            let name = String::from_utf8(Json::Text((*name).into()).to_vec()).expect("UTF-8");
            let value = String::from_utf8(value.to_vec()).expect("UTF-8");
            text += &format!("{name}:{value},");
        }
        text + extra + "\"stream\":true}"
    };
    let same = write("\"stream_options\":{\"include_usage\":true},");
    let same = Request::parse(same.as_bytes()).expect("the same request");
    assert!(same.stream && same.include_usage);
    assert_eq!(CacheKey::of(team, "model", &same.fields), key, "order, layout and delivery do not count");

    for (tenant, model) in [(Tenant::Team("b"), "model"), (Tenant::Consumer("a"), "model"), (team, "other")] {
        assert_ne!(CacheKey::of(tenant, model, &request.fields), key, "tenant and model separate");
    }
    if request.fields.get("\u{1}one more").is_none() {
        let more = write("\"\\u0001one more\":null,");
        // One more value may be one too many.
        if let Ok(more) = Request::parse(more.as_bytes()) {
            assert_ne!(CacheKey::of(team, "model", &more.fields), key, "any field separates");
        }
    }
}
