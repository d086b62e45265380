//! What a selection costs with 3 and with 300 deployments: `cargo bench -p routing`.

#![allow(clippy::expect_used, clippy::print_stdout, reason = "a benchmark, not a request path")]

use gateway_config::{PlainVariables, RouterConfig};
use routing::breaker::Breakers;
use routing::hash::Chance;
use routing::{Fleet, Loads, View, Wish, select};
use std::hint::black_box;
use std::time::Instant;

const STRATEGIES: [&str; 6] =
    ["round_robin", "weighted", "least_busy", "lowest_latency", "lowest_cost", "session"];
const ROUNDS: u64 = 20_000;

fn document(deployments: usize, strategy: &str) -> String {
    let mut text = format!("[[consumers]]\nid = \"c\"\nkeys_sha256 = [\"{}\"]\n", "ab".repeat(32));
    text.push_str("[pricing.m]\nprompt_usd_per_million = 1\ncompletion_usd_per_million = 1\n");
    text.push_str(&format!("[[models]]\nname = \"m\"\nstrategy = \"{strategy}\"\n"));
    for at in 0..deployments {
        text.push_str(&format!("[[models.deployments]]\nbackend = \"b{at}\"\nregion = \"r-{}\"\n", at % 5));
    }
    for at in 0..deployments {
        text.push_str(&format!("[[backends]]\nid = \"b{at}\"\nbase_url = \"https://b{at}\"\n"));
    }
    text
}

fn main() {
    println!("{:<16}{:>14}{:>14}{:>22}", "ns per selection", "3", "300", "300, with a region");
    for strategy in STRATEGIES {
        let mut line = format!("{strategy:<16}");
        for (deployments, region, width) in [(3, None, 14), (300, None, 14), (300, Some("r-3"), 22)] {
            let config = RouterConfig::parse(&document(deployments, strategy), "", PlainVariables::default());
            let config = config.expect("a valid document");
            let fleet = Fleet::new(&config);
            let target = fleet.target("m").expect("the model");
            let (mut loads, breakers) = (Loads::default(), Breakers::default());
            let wish = Wish {
                region,
                session: Some(7),
                prompt_tokens: 1_000,
                completion_tokens: 100,
                ..Wish::default()
            };
            let mut chance = Chance::new(1);
            let mut run = |rounds: u64| {
                for n in 0..rounds {
                    let view =
                        View { loads: &loads, breakers: &breakers, regions: &config.regions, now_ms: n };
                    let choice = select(target, black_box(&wish), &view, |_| false, &mut chance);
                    let choice = black_box(choice).expect("one is in service");
                    loads.begin(choice.id, 0);
                    loads.answered(choice.id, 100, n);
                    loads.end(choice.id, 0, 0, n);
                }
            };
            run(ROUNDS / 10);
            let begun = Instant::now();
            run(ROUNDS);
            let each = begun.elapsed().as_nanos() / u128::from(ROUNDS);
            line.push_str(&format!("{each:>width$}"));
        }
        println!("{line}");
    }
}
