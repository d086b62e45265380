//! Providers that were told where to begin, and say that again or not.

use super::continuing::*;
use super::*;
use proptest::prelude::*;

fn gone_on_with(said: &str, events: &[String]) -> Outcome {
    let first = vec![say(text("a", said)), Act::Break];
    continued(first, vec![(Joint::AppendUnlessEchoed, acts(events))])
}

#[test]
fn a_prefix_that_is_said_again_is_cut_off_and_one_that_is_not_is_not_missed() {
    let said_first = "The toll is paid";
    for (what, second, expected) in [
        ("not said again", vec![" at the gate", "."], "The toll is paid at the gate."),
        (
            "said again in one piece",
            vec!["The toll is paid at", " the gate."],
            "The toll is paid at the gate.",
        ),
        ("by itself", vec!["The toll is paid", " at the gate."], "The toll is paid at the gate."),
        ("in small pieces", vec!["The ", "toll is", " paid at the gate."], "The toll is paid at the gate."),
        ("and nothing more", vec!["The toll is paid"], "The toll is paid"),
        ("begun like it", vec!["The t", "icket too."], "The toll is paidThe ticket too."),
        ("begun like it to the end", vec!["The toll"], "The toll is paidThe toll"),
        ("nothing at all", vec![], "The toll is paid"),
    ] {
        let outcome = gone_on_with(said_first, &stream("b", &second, 3));
        assert_eq!(said(&outcome.client, 0, "content"), expected, "{what}");
        assert_eq!(outcome.report.end, End::Complete, "{what}");
        assert_reads_as_one(&outcome.client);
    }
}

#[test]
fn what_could_as_well_be_a_repetition_is_taken_as_it_comes() {
    for said_first in ["ha", "1234567", "ha ha ha ha ", "----------", "ab\nab\nab"] {
        let outcome = gone_on_with(said_first, &stream("b", &[said_first, "!"], 3));
        assert_eq!(said(&outcome.client, 0, "content"), format!("{said_first}{said_first}!"));
    }
}

#[test]
fn an_echo_that_ends_without_a_finish_leaves_nothing_out_unsaid() {
    for (second, end) in [
        ("The toll", End::Failed(Failure::Disagrees)),
        ("The toll is paid", End::Complete),
        (" at the gate.", End::Complete),
    ] {
        let outcome = gone_on_with("The toll is paid", &[text("b", second), DONE.to_owned()]);
        assert_eq!(outcome.report.end, end, "{second}");
    }
}

proptest! {
    #[test]
    fn an_echo_is_cut_wherever_its_chunks_are_and_another_text_never_is(
        first in "[a-d]{8}-[a-d]{0,8}", rest in "[a-e]{0,12}", cuts in prop::collection::vec(0usize..30, 0..6), echoes in any::<bool>(),
    ) {
        let second = if echoes { format!("{first}{rest}") } else { rest.clone() };
        let pieces = pieces(&second, &cuts);
        let outcome = gone_on_with(&first, &stream("b", &pieces, 3));
        prop_assert_eq!(said(&outcome.client, 0, "content"), format!("{first}{rest}"));
        prop_assert_eq!(outcome.report.end, End::Complete);
    }
}
