//! Where a component's standard output and error go.

use std::fs;

use crate::support::{Launch, eventually};

#[test]
fn output_and_errors_go_to_a_file_each_in_the_logs_folder() {
    let host = Launch::probe("").argument("--quiet").start();
    host.post("/print", "one line").ok();
    host.post("/print", "another line").ok();
    for (file, expected) in [
        (".spin/logs/probe_stdout.txt", "one line\nanother line\n"),
        (".spin/logs/probe_stderr.txt", "ONE LINE\nANOTHER LINE\n"),
    ] {
        eventually(file, || fs::read_to_string(host.path(file)).ok().filter(|text| text == expected));
    }
}

#[test]
fn a_panic_is_reported_in_the_error_log() {
    let host = Launch::probe("").argument("--quiet").start();
    host.get("/panic");
    eventually("the panic's message", || {
        let log = fs::read_to_string(host.path(".spin/logs/probe_stderr.txt")).ok()?;
        log.contains("the probe was asked to panic").then_some(())
    });
}
