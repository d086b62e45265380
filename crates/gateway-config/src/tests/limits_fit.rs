//! Limits that do not fit the models, routes and consumers of their document.

use super::*;

#[test]
fn a_limit_by_what_no_consumer_has_is_a_problem() {
    let is_about_teams = |line: &&str| line.starts_with("team = ") || line.starts_with("teams = ");
    let document = FULL.lines().filter(|line| !is_about_teams(line)).collect::<Vec<_>>().join("\n");
    let problems = check_with_secrets(&document).unwrap_err();
    let expected =
        "limits[0].counter_key: has \"team\", which no consumer has, so it would tell no requests apart";
    assert!(problems.to_string().starts_with(expected) && problems.len() == 1, "{problems}");
}

/// Who may ask for `auto` alone, by another name for it; what that leads to is in the cases.
const ROUTED: &str = r#"
    [[backends]]
    id = "b"
    base_url = "https://x"
    [[models]]
    name = "auto"
    aliases = ["other-name"]
    deployments = [{ backend = "b" }]
    FALLBACKS
    [[models]]
    name = "mid"
    deployments = [{ backend = "b" }]
    fallbacks = [{ to = "big", on = ["any"] }]
    [[models]]
    name = "big"
    deployments = [{ backend = "b" }, { backend = "b", model = "drained", weight = 0 }]
    [[consumers]]
    id = "one"
    team = "t"
    keys_sha256 = ["abcdefABCDEF3333333333333333333333333333333333333333333333333333"]
    models = ["other-name"]
    ROUTE
    [pricing.auto]
    prompt_usd_per_million = 1
    completion_usd_per_million = 1
    PRICES
    [[limits]]
    name = "l"
    counter_key = []
    LIMIT
"#;

#[test]
fn a_limit_follows_routes_and_fallbacks() {
    let route = |rest: &str| format!("[[routes]]\nname = \"r\"\n{rest}");
    let to_big = route("models = [\"auto\"]\nto = \"big\"");
    let of_nobody = route("apps = [\"a\"]\nto = \"big\"")
        + "\n[[consumers]]\nid = \"two\"\napp = \"a\"\n\
        keys_sha256 = [\"4444444444444444444444444444444444444444444444444444444444444444\"]\nmodels = [\"mid\"]";
    let prices = ["mid", "big"].map(|name| {
        format!("[pricing.{name}]\nprompt_usd_per_million = 1\ncompletion_usd_per_million = 1\n")
    });
    let (mid_priced, all_priced) = (prices[0].clone(), prices.concat());
    let fallback = "fallbacks = [{ to = \"mid\", on = [\"any\"] }]";
    let of_big = "match = { models = [\"big\"], teams = [\"t\"] }\nrequests_per_minute = 9";
    let money_of_auto =
        "match = { models = [\"auto\"], teams = [\"t\"] }\ncost_quota_usd = 1\nperiod = \"day\"";
    let money_of_big =
        "match = { models = [\"big\"], teams = [\"t\"] }\ncost_quota_usd = 1\nperiod = \"day\"";
    let of_auto = "match = { models = [\"auto\"], teams = [\"t\"] }\nrequests_per_minute = 9";
    let money_of_team = "match = { teams = [\"t\"] }\ncost_quota_usd = 1\nperiod = \"day\"";
    let unmet = Some("limits[0].match: is met by no consumer");
    let unpriced = Some(
        "limits[0].cost_quota_usd: limits money, but deployment \"b/big\", which a route or a fallback leads to, has no price",
    );
    for (routes, fallbacks, prices, limit, problem) in [
        ("", "", "", of_big, unmet),
        ("", "", "", of_auto, None),
        ("", "", "", money_of_team, None), // nobody in the team may ask for what has no price
        (&to_big, "", "", of_big, None),
        (&of_nobody, "", "", of_big, unmet),
        (&to_big, "", "", money_of_auto, unpriced),
        (&to_big, "", &all_priced, money_of_auto, None),
        (&to_big, "", &all_priced, money_of_big, None),
        ("", "", "", money_of_auto, None),
        (&of_nobody, "", "", money_of_auto, None),
        ("", fallback, &mid_priced, money_of_auto, unpriced),
        ("", fallback, &all_priced, money_of_auto, None),
    ] {
        let document = (ROUTED.replace("ROUTE", routes).replace("FALLBACKS", fallbacks))
            .replace("PRICES", prices)
            .replace("LIMIT", limit);
        let found = check(&document, "", PlainVariables::default());
        match (problem, &found) {
            (None, Ok(_)) => {}
            (Some(text), Err(problems)) if problems.len() == 1 && problems.to_string().starts_with(text) => {}
            _ => panic!("{routes} {fallbacks} {prices} {limit}: {found:?} instead of {problem:?}"),
        }
    }
}

#[test]
fn a_lease_is_held_against_the_models_that_serve_what_the_rule_counts() {
    // `slow` may last ten minutes, as a model does by default.
    let document = |consumers: &str, routes: &str, matches: &str| {
        format!(
            r#"
            [[backends]]
            id = "b"
            base_url = "https://x"
            [[models]]
            name = "quick"
            aliases = ["q"]
            deployments = [{{ backend = "b" }}]
            timeouts = {{ total_ms = 60_000 }}
            [[models]]
            name = "slow"
            deployments = [{{ backend = "b" }}]
            [[consumers]]
            id = "one"
            team = "t"
            tags = ["x"]
            keys_sha256 = ["abcdefABCDEF3333333333333333333333333333333333333333333333333333"]
            models = [{consumers}]
            [[consumers]]
            id = "two"
            team = "u"
            keys_sha256 = ["4444444444444444444444444444444444444444444444444444444444444444"]
            {routes}
            [[limits]]
            name = "l"
            counter_key = []
            max_parallel = 2
            lease_s = 60
            {matches}
            "#
        )
    };
    let route = |rest: &str| format!("[[routes]]\nname = \"r\"\n{rest}");
    let (to_slow, of_quick, of_team) =
        ("to = \"slow\"", "match = { models = [\"quick\"] }", "match = { teams = [\"t\"] }");
    for (consumers, routes, matches, is_too_short) in [
        ("\"quick\"", String::new(), "", true),
        ("\"quick\"", String::new(), of_quick, false),
        ("\"quick\"", String::new(), of_team, false),
        ("\"q\"", String::new(), of_team, false),
        ("\"quick\"", String::new(), "match = { tags = [\"x\"] }", false),
        ("\"slow\"", String::new(), of_team, true),
        // A route is nothing to a rule whose requests it does not take, or does not lead to another model.
        ("\"quick\"", route("models = [\"slow\"]\nto = \"quick\""), of_quick, false),
        ("\"quick\"", route("teams = [\"u\"]\nto = \"slow\""), of_team, false),
        ("\"quick\"", route("models = [\"slow\"]\nmirror = { to = \"slow\" }"), of_team, false),
        ("\"quick\"", route(&format!("models = [\"quick\"]\n{to_slow}")), of_quick, true),
        ("\"q\"", route(&format!("models = [\"quick\"]\n{to_slow}")), of_team, true),
        ("\"quick\"", route(to_slow), of_quick, true),
        ("\"quick\"", route(&format!("teams = [\"t\"]\n{to_slow}")), of_team, true),
    ] {
        let found = check(&document(consumers, &routes, matches), "", PlainVariables::default());
        match found {
            Ok(_) if !is_too_short => {}
            Err(problems) if is_too_short && problems.len() == 1 => {
                let text = problems.to_string();
                assert!(
                    text.starts_with("limits[0].lease_s: is 60, but a request to model \"slow\""),
                    "{text}"
                );
            }
            other => panic!("{consumers} {routes} {matches}: {other:?}"),
        }
    }
}
