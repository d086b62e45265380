//! A gateway document that anybody wrote: valid for all components at once, or every problem told, and no secret with it.

use gateway_config::{CacheConfig, LimiterConfig, PlainVariables, RouterConfig, UsageConfig, check};
use std::collections::BTreeSet;

/// The line that parts the `gateway` document from the `secrets` document; without it there are two secrets.
const SECRETS_LINE: &str = "\n#secrets\n";
const SECRET: &str = "sk-5ecre7-5ecre7-5ecre7";
const PLAIN: &str = "sk-p1a1n-p1a1n-p1a1n";

/// Checks the bytes as a document.
pub fn gateway_document(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let two_secrets = format!("openai = \"{SECRET}\"\nmine = \"{SECRET}\"\n");
    let (gateway, secrets) = text.split_once(SECRETS_LINE).unwrap_or((text, &two_secrets));
    let plain = PlainVariables { openai_api_key: PLAIN };

    let router = RouterConfig::parse(gateway, secrets, plain);
    let limiter = LimiterConfig::parse(gateway);
    let cache = CacheConfig::parse(gateway);
    let usage = UsageConfig::parse(gateway);
    match check(gateway, secrets, plain) {
        Ok(summary) => {
            let router = router.expect("the router takes what the check takes");
            let limiter = limiter.expect("so does the limiter");
            let cache = cache.expect("so does the cache");
            let usage = usage.expect("so does the logger");
            assert_eq!(summary.backends.len(), router.backends.len());
            assert_eq!(summary.models.len(), router.models.len());
            assert!(!router.backends.is_empty() && !router.models.is_empty());
            assert_eq!(summary.limits.len(), limiter.limits.len());
            assert_eq!(summary.is_cache_enabled, cache.enabled);
            assert_eq!(summary.prices.len(), usage.pricing.names().len());
            for model in &router.models {
                assert_eq!(router.model(&model.name), Some(model), "a model is found by its own name");
            }
            assert_is_no_secret(&format!("{router:?} {summary:?}"), gateway);
        }
        Err(problems) => {
            assert!(!problems.is_empty(), "refused, but nothing is wrong");
            let told: BTreeSet<String> = problems.iter().map(ToString::to_string).collect();
            assert_eq!(told.len(), problems.len(), "a thing is told once: {problems}");
            for problem in &problems {
                assert!(!problem.path.is_empty() && !problem.message.is_empty(), "{problem:?}");
            }
            for told in [router.err(), limiter.err(), cache.err(), usage.err()].into_iter().flatten() {
                for problem in &told {
                    assert!(
                        problems.iter().any(|p| p == problem),
                        "a component refuses what the check passes: {problem}"
                    );
                }
                assert_is_no_secret(&told.to_string(), gateway);
            }
            assert_is_no_secret(&problems.to_string(), gateway);
        }
    }
}

/// A text of ours shows no secret, unless the document itself has it outside the secrets.
fn assert_is_no_secret(text: &str, gateway: &str) {
    for secret in [SECRET, PLAIN] {
        assert!(!text.contains(secret) || gateway.contains(secret), "a secret is told");
    }
}
