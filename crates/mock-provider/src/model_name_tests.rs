//! The grammar of model names: what is accepted, what is refused and by which word.

use proptest::prelude::*;

use super::*;

#[test]
fn other_names_ask_for_nothing() {
    for model in
        ["gpt-4o", "gpt-4o-mini", "gpt-4o+status=503", "", "+status=503", "llama/mock", "mock", "mock-eu"]
    {
        assert_eq!(parse(model), Ok(Behaviour::default()), "{model}");
    }
}

#[test]
fn words_set_what_they_name() {
    let pace = parse("mock+ttft=50ms+gap=10ms+tokens=200").unwrap();
    assert_eq!(pace.stream.ttft, Duration::from_millis(50));
    assert_eq!(pace.stream.gap, Duration::from_millis(10));
    assert_eq!(pace.answer.text_bytes, Some(800));

    let refusal = parse("mock-a+status=503+retry-after=2+code=busy+header=x-y:a:b").unwrap();
    assert_eq!(refusal.refusal, Some(Refusal::Status(StatusCode::SERVICE_UNAVAILABLE)));
    assert_eq!(Some(&refusal.retry_headers[0].1), HeaderText::parse("2").as_ref());
    assert_eq!(refusal.error_code.as_deref(), Some("busy"));
    assert_eq!(Some(&refusal.headers[0].1), HeaderText::parse("a:b").as_ref());

    let cut = parse("mock+cut=3+split=2").unwrap();
    assert_eq!(cut.stream.early_end, Some(EarlyEnd { after_chunks: 3, kind: EarlyEndKind::Cut }));
    assert_eq!(cut.split_bytes, NonZeroUsize::new(2));
}

#[test]
fn times_are_read_with_their_unit() {
    for (text, expected) in [
        ("250us", Duration::from_micros(250)),
        ("7", Duration::from_millis(7)),
        ("7ms", Duration::from_millis(7)),
        ("2s", Duration::from_secs(2)),
        ("0", Duration::ZERO),
    ] {
        assert_eq!(parse(&format!("mock+slow={text}")).unwrap().slow, expected, "{text}");
    }
}

#[test]
fn every_documented_word_is_accepted() {
    let (_, table) = include_str!("../README.md").split_once("| Word | Effect |").unwrap();
    let mut words = 0;
    for line in table.lines().filter(|line| line.starts_with("| `")) {
        // A row may show several spellings: every code span of its first cell is one.
        let cell = line.trim_start_matches('|').split(" | ").next().unwrap();
        for example in cell.split('`').skip(1).step_by(2) {
            words += 1;
            assert!(
                parse(&format!("mock+{example}")).is_ok(),
                "{example}: {:?}",
                parse(&format!("mock+{example}"))
            );
        }
    }
    assert!(words >= 30, "the table of the README has gone: {words} words found");
}

#[test]
fn refusals_name_the_word() {
    for (model, word) in [
        ("mock+typo", "typo"),
        ("mock+Status=503", "Status"),
        ("mock+", ""),
        ("mock+status=200", "status=200"),
        ("mock+status", "status"),
        ("mock+cut=-1", "cut=-1"),
        ("mock+cut=three", "cut=three"),
        ("mock+malformed=0", "malformed=0"),
        ("mock+split=0", "split=0"),
        ("mock+tokens=99999999999", "tokens=99999999999"),
        ("mock+ttft=2h", "ttft=2h"),
        ("mock+ttft=3601s", "ttft=3601s"),
        ("mock+ttft", "ttft"),
        ("mock+reset=1", "reset=1"),
        ("mock+reset+reset", "reset"),
        ("mock+reset+silence", "silence"),
        ("mock+cut=1+stall=2", "stall=2"),
        ("mock+chunked+truncated-json", "truncated-json"),
        ("mock+tokens=3+text=12", "text=12"),
        ("mock+header=no-colon", "header=no-colon"),
        ("mock+retry-after=", "retry-after="),
        ("mock+retry-after=@tomorrow", "retry-after=@tomorrow"),
        ("mock+error-200+silence", "silence"),
        ("mock+event-error=1+cut=2", "cut=2"),
        ("mock+gzip=9", "gzip=9"),
        ("mock+retry-after=a\nb", "retry-after=a\nb"),
    ] {
        let error = parse(model).expect_err(model).to_string();
        assert!(error.contains(&format!("`{word}`")), "{model}: {error}");
    }
}

proptest! {
    #[test]
    fn parsing_never_panics(model in "\\PC{0,80}") {
        let _ = parse(&model);
        let _ = parse(&format!("mock+{model}"));
    }

    #[test]
    fn words_with_any_value_parse_or_are_named(
        key in proptest::sample::select(vec![
            "status", "retry-after", "retry-after-ms", "code", "header", "flaky", "slow", "ttft", "gap", "tokens",
            "text", "tool", "reasoning", "cached", "cut", "clean-cut", "stall", "malformed", "error-in-stream", "split",
        ]),
        value in "[ -*,-~]{0,24}|[0-9]{1,22}(us|ms|s|m)?",
    ) {
        let word = format!("{key}={value}");
        if let Err(error) = parse(&format!("mock+{word}")) {
            let message = error.to_string();
            prop_assert!(message.contains(&word), "{}", message);
        }
    }

    #[test]
    fn an_unknown_word_is_named(word in "[a-z]{1,8}-zz") {
        prop_assert_eq!(parse(&format!("mock+{word}")), Err(ModelNameError::UnknownWord(word)));
    }
}
