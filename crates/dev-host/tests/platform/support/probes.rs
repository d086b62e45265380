//! The probe components, built once per run of the tests.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

/// Where the built components are.
pub struct Probes {
    pub behaviour: PathBuf,
    pub pass_through: PathBuf,
}

/// Builds the probes on first use, into cargo's own target directory (`CARGO_TARGET_DIR` is honoured).
pub fn built() -> &'static Probes {
    static PROBES: OnceLock<Probes> = OnceLock::new();
    PROBES.get_or_init(build)
}

fn build() -> Probes {
    let output = Command::new(env!("CARGO"))
        .current_dir(repository())
        .args(["build", "--release", "--target", "wasm32-wasip2"])
        .args(["--package", "probe-behaviour", "--package", "probe-pass-through"])
        .arg("--message-format=json-render-diagnostics")
        .stderr(Stdio::inherit())
        .output()
        .expect("cargo starts");
    assert!(
        output.status.success(),
        "the probes do not build; is the target there? rustup target add wasm32-wasip2"
    );
    let messages = String::from_utf8(output.stdout).unwrap();
    Probes {
        behaviour: component(&messages, "probe_behaviour"),
        pass_through: component(&messages, "probe_pass_through"),
    }
}

/// The `.wasm` of this crate among cargo's messages, one JSON object a line.
fn component(messages: &str, target: &str) -> PathBuf {
    messages
        .lines()
        .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok())
        .filter(|message| message["reason"] == "compiler-artifact" && message["target"]["name"] == target)
        .flat_map(|message| message["filenames"].as_array().cloned().unwrap_or_default())
        .filter_map(|name| name.as_str().map(PathBuf::from))
        .find(|path| path.extension().is_some_and(|extension| extension == "wasm"))
        .unwrap_or_else(|| panic!("cargo reports no component for {target}"))
}

/// The root of the repository.
pub fn repository() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
}
