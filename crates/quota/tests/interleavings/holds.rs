//! A request that meets what another one holds for a moment, on a store whose operations take their time.

use crate::world::{Fault, Move, Task, World};
use gateway_config::LimiterConfig;
use proptest::prelude::*;
use quota::{Demand, Outcome, Pace, RequestSize, Subject, demands, reserve};

/// As many limits of one request at a time as somebody may hold, and one that is full.
const HELD: usize = 6;

fn config() -> LimiterConfig {
    let limit = |at: usize| {
        format!(
            "[[limits]]\nname = \"held-{at}\"\ncounter_key = []\nrequest_quota = 1\nperiod = \"year\"\n\
             match = {{ tags = [\"held-{at}\"] }}\n"
        )
    };
    LimiterConfig::parse(&(0..HELD).map(limit).collect::<String>()).unwrap()
}

fn asked<'c>(config: &'c LimiterConfig, held: &[usize]) -> Vec<Demand<'c>> {
    let tags: Vec<String> = held.iter().map(|at| format!("held-{at}")).collect();
    let tags: Vec<&str> = tags.iter().map(String::as_str).collect();
    let size = RequestSize { prompt_tokens: 1, max_completion_tokens: Some(0), n: 1 };
    demands(config, &Subject { tags: &tags, ..Subject::default() }, size).demands
}

const NEXT: [Move; 1] = [Move { pick: 0, advance_ms: 0, fault: Fault::None }];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn whoever_meets_a_hold_is_asked_again_when_it_is_over(
        held in 2..=HELD, operation_ms in 1..30_u64, wanted in 0..HELD, later_ms in 0..400_u64,
    ) {
        let config = config();
        let start_ms = crate::plan::START_MS;
        let world = World::with_slow_operations(start_ms, operation_ms);
        let pace = Pace::new();
        let ask = |task: usize, held: Vec<usize>, after_ms: u64| -> Task<'_, bool> {
            let (view, config, pace) = (world.view(task), &config, &pace);
            Box::pin(async move {
                view.wait_ms(after_ms).await;
                let outcome = reserve(&view, pace, || view.now_ms(), &asked(config, &held)).await.unwrap();
                matches!(outcome, Outcome::Admitted(_))
            })
        };
        // The last one is full, so that who asks for all takes those before it and gives them back.
        assert_eq!(world.run(vec![ask(0, vec![held - 1], 0)], &NEXT), [true]);
        let all = (0..held).collect();
        let one = vec![wanted % (held - 1)];
        let admitted = world.run(vec![ask(0, all, 0), ask(1, one, later_ms % (held as u64 * 3 * operation_ms))], &NEXT);
        prop_assert_eq!(admitted, [false, true]);
    }
}
