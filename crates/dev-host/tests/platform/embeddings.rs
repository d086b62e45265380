//! Embeddings by the local model.

use std::os::unix::fs::symlink;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use crate::support::{Host, Launch, alone, at_once, once_in, repository};

fn probe() -> Host {
    with_model(Launch::probe("ai_models = ['all-minilm-l6-v2']"))
}

/// Starts an application with the model's files linked to where Spin looks for them.
fn with_model(launch: Launch) -> Host {
    let models = repository().join(".spin/ai-models").canonicalize().unwrap_or_default();
    assert!(
        models.join("all-minilm-l6-v2/model.safetensors").exists(),
        "the model is not installed; run scripts/fetch-model"
    );
    let state = launch.directory().join(".spin");
    std::fs::create_dir(&state).unwrap();
    symlink(Path::new(&models), state.join("ai-models")).unwrap();
    launch.start()
}

fn embed(host: &Host, text: &str) -> Vec<f64> {
    let answer = host.post("/embed", text).json();
    assert!(answer["prompt_tokens"].as_u64().is_some_and(|tokens| tokens > 2), "{}", answer["prompt_tokens"]);
    assert_eq!(answer["embeddings"].as_array().unwrap().len(), 1);
    serde_json::from_value(answer["embeddings"][0].clone()).unwrap()
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// The cosines are those the model's card publishes for its example sentences.
#[test]
fn an_embedding_is_384_floats_of_norm_1_and_means_what_the_model_means() {
    let host = probe();
    let weather = embed(&host, "The weather is lovely today.");
    let sunny = embed(&host, "It's so sunny outside!");
    let stadium = embed(&host, "He drove to the stadium.");
    for vector in [&weather, &sunny, &stadium] {
        assert_eq!(vector.len(), 384);
        assert!((dot(vector, vector) - 1.0).abs() < 1e-4);
    }
    for (cosine, published) in
        [(dot(&weather, &sunny), 0.6660), (dot(&weather, &stadium), 0.1046), (dot(&sunny, &stadium), 0.1411)]
    {
        assert!((cosine - published).abs() < 1e-3, "{cosine} is not {published}");
    }
}

#[test]
fn a_model_the_component_does_not_declare_is_denied() {
    let host = Launch::probe("").start();
    let reply = host.post("/embed", "text");
    assert!(
        reply.host_error().contains("does not have access to use 'all-minilm-l6-v2'"),
        "{}",
        reply.text()
    );
}

/// The call is synchronous: nothing else in the instance runs meanwhile.
#[test]
fn an_embedding_holds_up_the_other_requests_of_its_instance() {
    let host = probe();
    let _machine = alone();
    // Some 25 ms a line.
    let text = "How do I reset my password when I no longer have the address I signed up with?\n".repeat(100);
    let neighbour_answers_after = || {
        // The first call loads the model.
        embed(&host, "text");
        let (mut sleeping, mut embedding) = (host.connect(), host.connect());
        let asked = Instant::now();
        sleeping.send("GET", "/sleep?ms=600", &[], b"");
        thread::sleep(Duration::from_millis(100));
        embedding.send("POST", "/embed", &[], text.as_bytes());
        sleeping.read().ok();
        let took = asked.elapsed();
        assert_eq!(embedding.read().json()["embeddings"].as_array().unwrap().len(), 100);
        took
    };
    once_in(5, "a neighbour that waits for the embedding", neighbour_answers_after, |took| {
        *took > Duration::from_millis(1100)
    });
}

/// One call at a time in the whole process, whichever component makes it.
#[test]
fn embeddings_of_two_components_run_one_after_the_other() {
    let host = with_model(Launch::new(
        "
        spin_manifest_version = 2
        [application]
        name = 'two'
        [[trigger.http]]
        route = '/one/...'
        component = 'one'
        [component.one]
        source = 'BEHAVIOUR'
        ai_models = ['all-minilm-l6-v2']
        [[trigger.http]]
        route = '/two/...'
        component = 'two'
        [component.two]
        source = 'BEHAVIOUR'
        ai_models = ['all-minilm-l6-v2']
        ",
    ));
    let _machine = alone();
    // The first call loads the model.
    host.post("/one/embed", "text").ok();
    let text = "How do I reset my password when I no longer have the address I signed up with?\n".repeat(40);
    let answered_after = || {
        let asked = Instant::now();
        let mut took = at_once(2, |index| {
            host.post(["/one/embed", "/two/embed"][index], &text).ok();
            asked.elapsed()
        });
        took.sort();
        took
    };
    // Side by side both would end together.
    once_in(5, "one long after the other", answered_after, |took| took[1] - took[0] > took[0] / 2);
}
