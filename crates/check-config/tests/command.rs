//! The program as it is called.

use std::process::{Command, Output, Stdio};

fn run(arguments: &[&str]) -> std::io::Result<Output> {
    Command::new(env!("CARGO_BIN_EXE_check-config"))
        .args(arguments)
        .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/../../examples"))
        .env_remove("SPIN_VARIABLE_OPENAI_API_KEY")
        .stdin(Stdio::null())
        .output()
}

#[test]
fn a_valid_document_prints_a_summary_and_the_command() {
    let output = run(&["demo.toml"]).unwrap();
    let stdout = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(0), "{stdout}");
    assert!(stdout.starts_with("demo.toml: no problem\n"), "{stdout}");
    let command =
        "spin up \\\n  --variable gateway=@demo.toml \\\n  --variable http_backend_1=http://127.0.0.1:9100\n";
    assert!(stdout.ends_with(command), "{stdout}");
}

#[test]
fn counters_in_a_redis_of_their_own_want_its_address() {
    let document = std::env::temp_dir().join(format!("check-config-redis-{}.toml", std::process::id()));
    let demo = include_str!("../../../examples/demo.toml");
    std::fs::write(&document, format!("{demo}\n[limiter]\nstore = \"redis\"\n")).unwrap();
    let output = run(&[document.to_str().unwrap()]).unwrap();
    std::fs::remove_file(&document).unwrap();
    let stdout = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(0), "{stdout}");
    assert!(stdout.contains("note: ") && stdout.contains("limiter_redis_password"), "{stdout}");
    assert!(stdout.ends_with("--variable limiter_redis=redis://host:port\n"), "{stdout}");
}

#[test]
fn a_script_gets_the_arguments_one_a_line() {
    let output = run(&["demo.toml", "--spin-arguments"]).unwrap();
    let expected = "--variable\ngateway=@demo.toml\n--variable\nhttp_backend_1=http://127.0.0.1:9100\n";
    assert_eq!(
        (output.status.code(), String::from_utf8(output.stdout).unwrap().as_str()),
        (Some(0), expected)
    );
}

#[test]
fn problems_go_to_stderr_with_status_1() {
    let output = run(&["openai.toml"]).unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!((output.status.code(), output.stdout.len()), (Some(1), 0), "{stderr}");
    assert!(stderr.contains("1 problem\n  backends[0].api_key.secret: "), "{stderr}");
    assert!(stderr.contains("add --secrets"), "{stderr}");
    let output = run(&["openai.toml", "--secrets", "secrets.example.toml"]).unwrap();
    assert_eq!(output.status.code(), Some(0));
}

#[test]
fn what_cannot_be_read_or_understood_is_status_2() {
    for arguments in [&["no-such-file.toml"][..], &[], &["--what"]] {
        let output = run(arguments).unwrap();
        assert_eq!((output.status.code(), output.stdout.len()), (Some(2), 0), "{arguments:?}");
    }
    assert_eq!(run(&["--hash-key"]).unwrap().status.code(), Some(1), "an empty key is no key");
}
