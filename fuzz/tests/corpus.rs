//! Every input of the corpus, and what the fuzzer once found, through its target: no fuzzer needed.

use std::fs;
use std::path::Path;

/// In how many places each input is cut.
const CUTS: usize = 32;

#[test]
fn every_input_of_the_corpus_holds() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus");
    let folders = fs::read_dir(&corpus).unwrap().map(|entry| entry.unwrap().file_name());
    let mut folders: Vec<String> = folders.map(|name| name.into_string().unwrap()).collect();
    let mut names: Vec<&str> = fuzz::TARGETS.iter().map(|(name, _)| *name).collect();
    folders.sort_unstable();
    names.sort_unstable();
    assert_eq!(folders, names, "each target has seeds, and each folder a target");
    for (name, target) in fuzz::TARGETS {
        let mut inputs = 0;
        for entry in fs::read_dir(corpus.join(name)).unwrap() {
            let path = entry.unwrap().path();
            let input = fs::read(&path).unwrap();
            let outcome = std::panic::catch_unwind(|| target(&input));
            assert!(outcome.is_ok(), "{} does not hold", path.display());
            // Cut short, it must hold as well.
            (0..input.len()).step_by(1 + input.len() / CUTS).for_each(|end| target(&input[..end]));
            inputs += 1;
        }
        assert!(inputs >= 5, "{name} has {inputs} seeds");
    }
}
