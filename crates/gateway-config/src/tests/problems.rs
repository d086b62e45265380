//! What is wrong is found, at its path, with what is allowed; all of it together and nothing twice.

use super::*;

/// [`FULL`] with `from` replaced by `to`, the path of the one problem that it then has, and a part of its text.
const CASES: &[(&str, &str, &str, &str)] = &[
    // Unknown keys, at every level
    ("[cache]", "[guards]\n[cache]", "guards", "is not a section of the document; allowed: backends, models"),
    ("[cache]", "[cach]\n[cache]", "cach", "did you mean \"cache\"?"),
    ("provider =", "provder =", "backends[0].provder", "[[backends]]; allowed: id, provider"),
    (
        "{ secret = \"openai\" }",
        "{ secret = \"openai\", x = 1 }",
        "backends[0].api_key.x",
        "is not a key of [backends.api_key]; allowed: secret",
    ),
    (
        "priority = 1\nweight = 3",
        "prio = 1",
        "models[0].deployments[0].prio",
        "is not a key of [[models.deployments]]",
    ),
    ("idle_ms", "idle", "models[0].timeouts.idle", "did you mean \"idle_ms\"?"),
    ("app =", "apps =", "consumers[0].apps", "did you mean \"app\"?"),
    ("ttl_s", "ttl", "cache.ttl", "allowed: enabled, ttl_s, max_entry_bytes"),
    ("cached_usd_per_million", "cached", "pricing.gpt-4o.cached", "is not a key of"),
    ("stdout = false", "stderr = false", "logging.stderr", "allowed: stdout, user_ids, retain_days"),
    ("user_ids = false", "user_ids = \"hash\"", "logging.user_ids", "is \"hash\", must be true or false"),
    (
        "retain_days = 90",
        "retain_days = 36_501",
        "logging.retain_days",
        "is 36501, must be a whole number from 0 to 36500",
    ),
    ("retain_days = 90", "retain_days = -1", "logging.retain_days", "is -1, must be"),
    ("request_bytes", "request", "bounds.request", "did you mean \"request_bytes\"?"),
    ("[limiter]", "[limiter]\nx = 1", "limiter.x", "allowed: completion_reserve, on_store_error"),
    (
        "[[consumers]]\nid = \"alice\"",
        "[[consumers]]\nlocal_only = true\nid = \"alice\"",
        "consumers[0].local_only",
        "is not a key",
    ),
    // Wrong types and ranges
    ("[logging]\nstdout = false", "[[logging]]\nstdout = false", "logging", "is a list, must be a table"),
    ("enabled = false", "enabled = \"no\"", "cache.enabled", "is \"no\", must be true or false"),
    ("ttl_s = 60", "ttl_s = 0", "cache.ttl_s", "is 0, must be a whole number from 1 to 2592000"),
    ("ttl_s = 60", "ttl_s = 2_592_001", "cache.ttl_s", "is 2592001, must be"),
    ("ttl_s = 60", "ttl_s = -1", "cache.ttl_s", "is -1, must be"),
    ("ttl_s = 60", "ttl_s = 60.5", "cache.ttl_s", "is 60.5, must be"),
    ("ttl_s = 60", "ttl_s = 99999999999999999999", "cache.ttl_s", "must be a whole number"),
    ("ttl_s = 60", "ttl_s = 2026-01-01", "cache.ttl_s", "is a date or time, must be"),
    (
        "max_entry_bytes = 65_536",
        "max_entry_bytes = 1_000_001",
        "cache.max_entry_bytes",
        "from 1024 to 1000000",
    ),
    ("idle_ms = 3_000", "idle_ms = 600_001", "models[0].timeouts.idle_ms", "from 1 to 600000"),
    (
        "request_bytes = 1_048_576",
        "request_bytes = 67_108_865",
        "bounds.request_bytes",
        "from 1024 to 67108864",
    ),
    (
        "weight = 3",
        "weight = -3",
        "models[0].deployments[0].weight",
        "is -3, must be a whole number from 0 to",
    ),
    ("priority = 1\nweight = 3", "priority = 1_001", "models[0].deployments[0].priority", "from 0 to 1000"),
    (
        "completion_reserve = 2_048",
        "completion_reserve = 0",
        "limiter.completion_reserve",
        "from 1 to 1000000",
    ),
    (
        "on_store_error = \"allow\"",
        "on_store_error = \"alow\"",
        "limiter.on_store_error",
        "did you mean \"allow\"?",
    ),
    ("store = \"redis\"", "store = \"radis\"", "limiter.store", "did you mean \"redis\"?"),
    (
        "tokens_per_minute = 50_000",
        "tokens_per_minute = 0",
        "limits[0].tokens_per_minute",
        "from 1 to 1000000000000",
    ),
    (
        "tokens_per_minute = 50_000\nrequests_per_minute = 60",
        "",
        "limits[0]",
        "limits nothing; it must have one or more of tokens_per_minute, requests_per_minute",
    ),
    // Backends
    (
        "[cache]",
        "[[backends]]\nid = \"local\"\nbase_url = \"https://x\"\n[cache]",
        "backends[2].id",
        "is \"local\", which backends[1] has too",
    ),
    (
        "provider = \"openai\"",
        "provider = \"bedrock\"",
        "backends[0].provider",
        "is \"bedrock\", must be \"openai\"",
    ),
    (
        "https://api.openai.com/v1",
        "api.openai.com/v1",
        "backends[0].base_url",
        "is \"api.openai.com/v1\", must begin with https://",
    ),
    (
        "https://api.openai.com/v1",
        "https://u:hush@api.openai.com/v1",
        "backends[0].base_url",
        "is ***, must not hold a user name",
    ),
    ("{ secret = \"openai\" }", "\"hush\"", "backends[0].api_key", "write api_key = { secret = \"name\" }"),
    (
        "{ secret = \"openai\" }",
        "{ secret = \"opnai\" }",
        "backends[0].api_key.secret",
        "is not in secrets; did you mean \"openai\"?",
    ),
    ("{ secret = \"openai\" }", "{}", "backends[0].api_key.secret", "is missing"),
    // Models
    (
        "name = \"fast\"\n\n[[models.deployments]]\nbackend = \"openai\"",
        "name = \"fast\"\n\n[[models.deployments]]\nbackend = \"opnai\"",
        "models[1].deployments[0].backend",
        "is \"opnai\", which is not the id of a backend; there is \"openai\", \"local\"; did you mean \"openai\"?",
    ),
    ("model = \"gpt-4o-mini\"", "weight = 0", "models[1].deployments", "all have weight = 0"),
    (
        "model = \"gpt-4o-mini\"",
        "model = \"\"",
        "models[1].deployments[0].model",
        "must be 1 to 128 characters",
    ),
    (
        "llama-8b",
        "llama-70b",
        "models[0].deployments[2]",
        "same backend and model as models[0].deployments[0]",
    ),
    // Settings
    (
        "strategy = \"least_busy\"",
        "strategy = \"least-busy\"",
        "defaults.strategy",
        "is not a strategy; there is \"round_robin\"",
    ),
    ("strategy = \"session\"", "", "models[2].session_key", "belongs to strategy = \"session\""),
    ("header:X-Session", "header:x y", "models[2].session_key", "\"cookie:<name>\""),
    ("header:X-Session", "request", "models[2].session_key", "another one each time"),
    ("\"continue\"", "\"retry\"", "models[2].mid_stream", "there is \"error\", \"continue\""),
    ("buffer = true", "buffer = 1", "models[2].buffer", "must be true or false"),
    ("cancel_whole = false", "cancel_whole = \"no\"", "models[2].cancel_whole", "must be true or false"),
    ("keepalive_ms = 5_000", "keepalive_ms = 60_001", "models[2].keepalive_ms", "from 0 to 60000"),
    ("promise_ms = 1_000", "promise_ms = 60_001", "models[2].promise_ms", "from 0 to 60000"),
    ("client_ms = 5_000", "client_ms = 99", "bounds.client_ms", "from 100 to 600000"),
    ("response_bytes = 4_096", "response_bytes = 1", "models[2].response_bytes", "from 1024 to 67108864"),
    ("max_attempts = 4", "max_attempts = 11", "models[2].retries.max_attempts", "from 1 to 10"),
    ("\"5xx\"", "\"7xx\"", "models[2].retries.statuses[1]", "is \"7xx\", must be a status"),
    (
        "failure_ratio = 0.25",
        "failure_ratio = 0",
        "models[2].breaker.failure_ratio",
        "must be above 0 and at most 1",
    ),
    (
        "trip_duration_s = 9",
        "trip_duration = 9",
        "models[2].breaker.trip_duration",
        "did you mean \"trip_duration_s\"?",
    ),
    ("path = \"/health\"", "path = \"health\"", "models[2].health_check.path", "must begin with /"),
    ("total_ms = 300_000", "total_ms = 3_600_001", "defaults.timeouts.total_ms", "from 1 to 3600000"),
    ("[defaults]", "[defaults]\nname = \"x\"", "defaults.name", "is not a key of [defaults]"),
    (
        "prefill = \"last_message\"",
        "prefill = \"tools\"",
        "models[1].deployments[0].prefill",
        "there is \"last_message\"",
    ),
    (
        "capacity_tokens_per_minute = 90_000",
        "capacity_tokens_per_minute = 0",
        "models[1].deployments[0].capacity_tokens_per_minute",
        "from 1 to",
    ),
    (
        "region = \"eu-west\"",
        "region = \"eu west\"",
        "models[1].deployments[0].region",
        "must be 1 to 64 characters",
    ),
    ("eu = [\"eu-west\", \"us\"]", "eu = [\"us\", \"US\"]", "regions.eu[1]", "is \"US\" again"),
    ("eu = [\"eu-west\", \"us\"]", "eu = \"us\"", "regions.eu", "must be a list of strings"),
    // Aliases and fallbacks
    (
        "\"best\", \"gpt-4\"",
        "\"best\", \"best\", \"gpt-4\"",
        "models[2].aliases[1]",
        "which models[2] has too",
    ),
    (
        "\"best\", \"gpt-4\"",
        "\"fast\", \"gpt-4\"",
        "models[2].aliases[0]",
        "is \"fast\", which models[1] has too",
    ),
    ("\"best\", \"gpt-4\"", "\"\", \"gpt-4\"", "models[2].aliases[0]", "must be 1 to 128 characters"),
    (
        "to = \"gpt-4o\"\non",
        "to = \"gpt-4\"\non",
        "models[2].fallbacks[0].to",
        "is the model itself; a fallback is another pool",
    ),
    ("to = \"gpt-4o\"\non", "to = \"gtp-4o\"\non", "models[2].fallbacks[0].to", "did you mean \"gpt-4o\"?"),
    ("to = \"gpt-4o\"\non", "on", "models[2].fallbacks[0].to", "is missing"),
    ("on = [\"any\"]", "on = [\"all\"]", "models[2].fallbacks[1].on[0]", "there is \"context_window\""),
    ("on = [\"any\"]", "on = []", "models[2].fallbacks[1].on", "is empty"),
    ("on = [\"any\"]", "", "models[2].fallbacks[1].on", "is missing; [\"any\"]"),
    (
        "on = [\"any\"]",
        "on = [\"rate_limit\"]",
        "models[2].fallbacks[1].on",
        "is covered by the fallback to \"gpt-4o\" before",
    ),
    (
        "name = \"fast\"",
        "name = \"fast\"\nfallbacks = [{ to = \"best\", on = [\"any\"] }]",
        "models[2].fallbacks[1].to",
        "leads back to where it starts: steady → fast → steady",
    ),
    // Routes
    ("name = \"canary\"", "", "routes[0].name", "is missing"),
    (
        "share_key = \"user\"\nto = \"fast\"",
        "share_key = \"user\"\nto = \"fass\"",
        "routes[0].to",
        "did you mean \"fast\"?",
    ),
    (
        "share_key = \"user\"\nto = \"fast\"\nmirror = { to = \"gpt-4o\", share = 0.05 }",
        "share_key = \"user\"",
        "routes[0].to",
        "must lead to another model, or mirror",
    ),
    (
        "mirror = { to = \"gpt-4o\", share = 0.05 }",
        "mirror = { share = 0.05 }",
        "routes[0].mirror.to",
        "is missing",
    ),
    (
        "mirror = { to = \"gpt-4o\", share = 0.05 }",
        "mirror = { to = \"gpt-4o\", share = 2 }",
        "routes[0].mirror.share",
        "above 0 and at most 1",
    ),
    ("models = [\"gpt-4\"]", "models = [\"gpt-5\"]", "routes[0].models[0]", "is not the name of a model"),
    ("models = [\"gpt-4\"]", "models = [\"gpt-4\", \"best\"]", "routes[0].models[1]", "is \"best\" again"),
    (
        "consumers = [\"alice\"]",
        "consumers = [\"carol\"]",
        "routes[0].consumers[0]",
        "is not the id of a consumer; there is \"alice\", \"bob\", \"dora\"",
    ),
    ("teams = [\"platform\"]", "teams = [\"sales\"]", "routes[0].teams[0]", "is not the team of a consumer"),
    ("apps = [\"console\"]", "apps = []", "routes[0].apps", "would match nothing"),
    (
        "tags = [\"beta\"]\nheaders",
        "tags = [\"prod\"]\nheaders",
        "routes[0].tags[0]",
        "is not a tag of a consumer; there is \"beta\", \"eu\", \"other\", \"trial\"",
    ),
    (
        "X-Tier = \"gold\"",
        "Authorization = \"Bearer x\"",
        "routes[0].headers.Authorization",
        "holds a credential",
    ),
    ("X-Tier = \"gold\"", "\"x y\" = \"gold\"", "routes[0].headers.\"x y\"", "is not the name of a header"),
    (
        "max_prompt_tokens = 1_000",
        "max_prompt_tokens = 9",
        "routes[0].max_prompt_tokens",
        "is below min_prompt_tokens",
    ),
    (
        "features = [\"vision\", \"tools\"]",
        "features = [\"images\"]",
        "routes[0].features[0]",
        "is not a feature",
    ),
    ("share = 0.1\n", "", "routes[0].share_key", "there is no share"),
    (
        "[[routes]]",
        "[[routes]]\nname = \"all\"\nto = \"fast\"\n[[routes]]",
        "routes[1]",
        "never applies: routes[0] before it takes every request",
    ),
    // Consumers
    ("id = \"bob\"", "id = \"alice\"", "consumers[1].id", "which consumers[0] has too"),
    (
        "id = \"bob\"",
        "id = \"bob smith\"",
        "consumers[1].id",
        "is \"bob smith\", must be 1 to 64 characters of A-Z",
    ),
    ("id = \"bob\"", "", "consumers[1].id", "is missing"),
    (
        "team = \"research\"",
        "team = \"a\\r\\nx-admin: 1\"",
        "consumers[0].team",
        "must be 1 to 64 characters",
    ),
    ("\"trial\"]", "\"eu\"]", "consumers[0].tags[1]", "is in the list already"),
    ("\"trial\"]", "7]", "consumers[0].tags[1]", "is 7, must be a string"),
    (
        "models = [\"fast\"]",
        "models = [\"fats\"]",
        "consumers[0].models[0]",
        "is not the name of a model; there is",
    ),
    (
        "models = [\"fast\"]",
        "models = [\"*\"]",
        "consumers[0].models[0]",
        "leave models out to allow every model",
    ),
    ("models = [\"fast\"]", "models = []", "consumers[0].models", "nothing is allowed"),
    (
        "models = [\"fast\"]",
        "models = \"fast\"",
        "consumers[0].models",
        "is \"fast\", must be a list of strings",
    ),
    (
        "[\"abcdefABCDEF3333333333333333333333333333333333333333333333333333\"]",
        "[]",
        "consumers[1].keys_sha256",
        "is empty",
    ),
    (
        "abcdefABCDEF3333333333333333333333333333333333333333333333333333",
        "hush",
        "consumers[1].keys_sha256[0]",
        "is 4 characters; must be the key's SHA-256",
    ),
    (
        "abcdefABCDEF3333333333333333333333333333333333333333333333333333",
        "2222222222222222222222222222222222222222222222222222222222222222",
        "consumers[1].keys_sha256[0]",
        "is the same key as consumers[0].keys_sha256[1]",
    ),
    (
        "abcdefABCDEF3333333333333333333333333333333333333333333333333333",
        "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
        "consumers[1].keys_sha256[0]",
        "empty key",
    ),
    // Limits that would decide nothing of their own
    ("name = \"by-team\"", "name = \"everything\"", "limits[1].name", "which limits[0] has too"),
    (
        "counter_key = []",
        "counter_key = [\"team\", \"model\"]",
        "limits[1].counter_key",
        "counts the same as limit \"by-team\"",
    ),
    (
        "counter_key = []",
        "counter_key = [\"ip\"]",
        "limits[1].counter_key[0]",
        "is not part of a counter key; there is \"consumer\"",
    ),
    ("counter_key = []", "counter_key = [\"app\", \"app\"]", "limits[1].counter_key[1]", "again"),
    ("counter_key = []", "", "limits[1].counter_key", "is missing; [] is one counter for the whole gateway"),
    // Rules, key by key
    ("max_parallel = 4", "max_parallel = 0", "limits[3].max_parallel", "from 1 to 1000000"),
    ("lease_s = 300", "lease_s = 3", "limits[3].lease_s", "from 4 to 86400"),
    (
        "lease_s = 300",
        "lease_s = 299",
        "limits[3].lease_s",
        "is 299, but a request to model \"steady\" may last 300000 ms (timeouts.total_ms), so that more than max_parallel \
         could run; at least 300 are needed",
    ),
    ("max_parallel = 4", "", "limits[3].lease_s", "is of no use without max_parallel"),
    (
        "window = \"rolling\"",
        "window = \"sliding\"",
        "limits[3].window",
        "there is \"calendar\", \"rolling\"",
    ),
    (
        "window = \"rolling\"",
        "window = \"rolling\"\ntimezone = \"UTC\"",
        "limits[3].timezone",
        "is of no use with window = \"rolling\"",
    ),
    ("period = \"month\"", "", "limits[2].period", "is missing"),
    ("period = \"month\"", "period = \"monthly\"", "limits[2].period", "did you mean \"month\"?"),
    ("Europe/Berlin", "Europe/Berlim", "limits[2].timezone", "must be a name of the IANA database"),
    (
        "requests_per_minute = 60",
        "period = \"day\"",
        "limits[0].period",
        "is of no use without one of token_quota",
    ),
    (
        "{ models = [\"gpt-4o\"] }",
        "{ models = [\"gpt-4\"] }",
        "limits[4].match.models[0]",
        "is not the name of a model",
    ),
    ("cost_quota_usd = 12.5", "cost_quota_usd = 0", "limits[4].cost_quota_usd", "must be US dollars above 0"),
    ("cost_quota_usd = 12.5", "cost_quota_usd = \"1e3\"", "limits[4].cost_quota_usd", "is \"1e3\", must be"),
    (
        "cost_quota_usd = 12.5",
        "cost_quota_usd = true",
        "limits[4].cost_quota_usd",
        "must be a decimal number",
    ),
    ("mode = \"observe\"", "mode = \"watch\"", "limits[2].mode", "there is \"enforce\", \"observe\""),
    ("[1.0, 0.5, 0.875]", "[1, 0.5, 1.000]", "limits[2].alert_at[2]", "is in the list already"),
    ("[1.0, 0.5, 0.875]", "[0]", "limits[2].alert_at[0]", "from 0.001 to 10"),
    ("[1.0, 0.5, 0.875]", "0.5", "limits[2].alert_at", "must be a list of decimal numbers"),
    (
        "cached_tokens = 0.1\n",
        "cached_tokens = 0.0001\n",
        "limits[2].counts.cached_tokens",
        "at most 3 decimals",
    ),
    ("cached_tokens = 0.1\n", "cached = 0.1\n", "limits[2].counts.cached", "is not a key of [limits.counts]"),
    ("requests_per_minute = 60", "counts = \"all\"", "limits[0].counts", "or a table of weights"),
    (
        "lease_s = 300",
        "lease_s = 300\ncounts = \"prompt\"",
        "limits[3].counts",
        "is of no use without tokens_per_minute or token_quota",
    ),
    (
        "requests_per_minute = 60",
        "counts = { prompt_tokens = 0, completion_tokens = 0 }",
        "limits[0].counts",
        "has no weight above 0",
    ),
    ("header:X-Project", "header:Authorization", "limits[2].counter_key[1]", "whose value is a secret"),
    ("header:X-Project", "header:x-tollgate-team", "limits[2].counter_key[1]", "which no client can set"),
    ("header:X-Project", "header:x y", "limits[2].counter_key[1]", "the name of a header"),
    ("header:X-Project", "claim:", "limits[2].counter_key[1]", "must be claim: and 1 to 64 characters"),
    ("x-quota-reset\"", "x quota\"", "limiter.headers.reset_tokens", "must be the name of a header"),
    ("x-quota-reset\"", "Retry-After\"", "limiter.headers.reset_tokens", "means something else"),
    ("x-quota-reset\"", "x-tollgate-model\"", "limiter.headers.reset_tokens", "are our own"),
    (
        "x-quota-reset\"",
        "x-quota-limit\"",
        "limiter.headers.reset_tokens",
        "which another of these headers has too",
    ),
    // Rules that nothing would meet
    ("[\"fast\"]\nteams", "[\"fats\"]\nteams", "limits[2].match.models[0]", "is not the name of a model"),
    ("teams = [\"research\"]", "teams = [\"reserch\"]", "limits[2].match.teams[0]", "it would never match"),
    (
        "\"other\", \"trial\"]",
        "\"none\", \"trial\"]",
        "limits[2].match.tags[0]",
        "is not a tag of a consumer",
    ),
    ("\"other\", \"trial\"]", "\"other\"]", "limits[2].match", "is met by no consumer"),
    ("[\"fast\"]\nteams", "[\"gpt-4o\"]\nteams", "limits[2].match", "may ask for such a model"),
    ("[\"fast\"]\nteams", "[]\nteams", "limits[2].match.models", "is empty, so that nothing would match"),
    ("header:X-Project", "claim:org", "limits[2].counter_key", "has \"claim:org\", which no consumer has"),
    (
        "{ models = [\"gpt-4o\"] }",
        "{ models = [\"fast\"] }",
        "limits[4].cost_quota_usd",
        "deployment \"openai/gpt-4o-mini\" has no price",
    ),
    // Prices that would never apply
    ("[pricing.\"gpt-4o\"]", "[pricing.\"gpt4o\"]", "pricing.gpt4o", "did you mean \"gpt-4o\"?"),
    ("local/llama-70b\"]", "locl/llama-70b\"]", "pricing.\"locl/llama-70b\"", "so it would never apply"),
    (
        "prompt_usd_per_million = 2.5",
        "prompt_usd_per_million = -2.5",
        "pricing.gpt-4o.prompt_usd_per_million",
        "is -2.5, must be US dollars from 0",
    ),
    (
        "prompt_usd_per_million = 2.5",
        "prompt_usd_per_million = 1e3",
        "pricing.gpt-4o.prompt_usd_per_million",
        "no exponent",
    ),
    (
        "prompt_usd_per_million = 2.5",
        "prompt_usd_per_million = \"2.5\"",
        "pricing.gpt-4o.prompt_usd_per_million",
        "must be a decimal number",
    ),
    (
        "prompt_usd_per_million = 2.5",
        "",
        "pricing.gpt-4o.prompt_usd_per_million",
        "write 0 for what costs nothing",
    ),
    // Syntax
    ("ttl_s = 60", "ttl_s = ", "gateway", "line 178, column 9: not TOML: "),
    ("ttl_s = 60", "ttl_s = 60\nttl_s = 61", "gateway", "line 179, column 1: not TOML: duplicate key"),
];

#[test]
fn each_mistake_is_one_problem_at_its_path() {
    assert!(check_with_secrets(FULL).is_ok(), "{:?}", check_with_secrets(FULL));
    for (from, to, path, text) in CASES {
        assert!(FULL.contains(from), "{from:?} is not in the document");
        let document = FULL.replacen(from, to, 1);
        let Err(problems) = check_with_secrets(&document) else { panic!("{to:?} is accepted") };
        assert_eq!(problems.len(), 1, "{to:?} has one problem:\n{problems}");
        let problem = problems.iter().next().unwrap();
        assert_eq!(problem.path, *path, "{to:?}: {problem}");
        assert!(problem.message.contains(text), "{to:?}: {problem}");
    }
}

#[test]
fn all_mistakes_of_a_document_are_reported_together_in_the_order_of_its_sections() {
    let document = r#"
        rules = 1
        [[backends]]
        id = "open ai"
        base_url = "ftp://x"
        api_key = "literal"
        [[backends]]
        [[models]]
        name = "m"
        timeouts = { idle_ms = 0 }
        [[models.deployments]]
        backend = "none"
        weight = "all"
        [[consumers]]
        keys_sha256 = ["short"]
        models = ["n"]
        [bounds]
        request_bytes = 1
        [[limits]]
        name = "l"
        counter_key = ["who"]
        [cache]
        ttl_s = 0
        [pricing.m]
        prompt_usd_per_million = -1
        [logging]
        stdout = 1
    "#;
    let problems = check(document, "a = 1", PlainVariables::default()).unwrap_err();
    let paths: Vec<&str> = problems.iter().map(|problem| problem.path.as_str()).collect();
    assert_eq!(
        paths,
        [
            "rules",
            "secrets.a",
            "backends[0].id",
            "backends[0].base_url",
            "backends[0].api_key",
            "backends[1].id",
            "backends[1].base_url",
            "models[0].deployments[0].backend",
            "models[0].deployments[0].weight",
            "models[0].timeouts.idle_ms",
            "consumers[0].id",
            "consumers[0].keys_sha256[0]",
            "consumers[0].models[0]",
            "bounds.request_bytes",
            "limits[0].counter_key[0]",
            "limits[0]",
            "cache.ttl_s",
            "pricing.m.prompt_usd_per_million",
            "pricing.m.completion_usd_per_million",
            "logging.stdout",
        ],
        "{problems}"
    );
    assert_eq!(problems.to_string().lines().count(), problems.len(), "one line each:\n{problems}");
}

#[test]
fn a_document_needs_backends_models_and_consumers() {
    for document in ["[cache]", "backends = []\nmodels = []\nconsumers = []"] {
        let problems = check_with_secrets(document).unwrap_err();
        let paths: Vec<&str> = problems.iter().map(|problem| problem.path.as_str()).collect();
        assert_eq!(paths, ["backends", "models", "consumers"], "{document}");
    }
}

#[test]
fn what_refers_to_something_broken_is_not_reported_as_well() {
    for (from, to, path) in [
        ("https://api.openai.com/v1", "x", "backends[0].base_url"),
        ("name = \"fast\"", "name = \"fa st\"", "models[1].name"),
        ("id = \"openai\"", "id = \"open ai\"", "backends[0].id"),
    ] {
        // The reference follows the broken name, so that only the name itself is wrong.
        let document = FULL.replacen(from, to, 1);
        let document = match path {
            "models[1].name" => {
                document.replacen("[\"fast\"]", "[\"fa st\"]", 1).replace("to = \"fast\"", "to = \"fa st\"")
            }
            "backends[0].id" => document.replace("backend = \"openai\"", "backend = \"open ai\""),
            _ => document,
        };
        let problems = check_with_secrets(&document).unwrap_err();
        let paths: Vec<&str> = problems.iter().map(|problem| problem.path.as_str()).collect();
        assert_eq!(paths, [path], "{problems}");
    }
}

#[test]
fn five_plain_http_origins_are_one_too_many() {
    let document = |count: u16| {
        let mut text = FULL.to_owned();
        for port in 1..count {
            text.push_str(&format!(
                "[[backends]]\nid = \"b{port}\"\nbase_url = \"http://127.0.0.1:{port}\"\n"
            ));
        }
        text
    };
    let four = check_with_secrets(&document(4)).unwrap();
    assert_eq!(four.plain_http_origins.len(), 4);
    let problems = check_with_secrets(&document(5)).unwrap_err();
    assert!(problems.to_string().contains("backends: have 5 different plain-http origins"), "{problems}");
}
