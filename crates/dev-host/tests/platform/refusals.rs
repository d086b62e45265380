//! What the dev-host does not support it refuses by name: an application never half works.

use crate::support::Launch;

#[test]
fn unknown_manifest_keys_are_refused_by_name() {
    for (declaration, named) in
        [("made_up_key = true", "made_up_key"), ("[component.probe.made_up_table]\na = 1", "made_up_table")]
    {
        let said = Launch::probe(declaration).refused();
        assert!(said.contains(named), "{declaration}: {said}");
    }
}

#[test]
fn other_triggers_than_http_are_refused_by_name() {
    let said = Launch::new(
        "
        spin_manifest_version = 2
        [application]
        name = 'triggers'
        [[trigger.redis]]
        channel = 'c'
        component = 'probe'
        [component.probe]
        source = 'BEHAVIOUR'
        ",
    )
    .refused();
    assert!(said.contains("redis"), "{said}");
}

#[test]
fn runtime_configuration_that_is_unknown_or_unsupported_is_refused_by_name() {
    for (configuration, named) in [
        ("made_up_key = true", "made_up_key"),
        ("[made_up_table]\na = 1", "made_up_table"),
        ("[key_value_store.default]\ntype = 'made_up_type'", "made_up_type"),
        ("[key_value_store.default]\ntype = 'spin'\nmade_up_key = 1", "made_up_key"),
        ("[sqlite_database.default]\ntype = 'libsql'\nurl = 'u'\ntoken = 't'", "libsql"),
        ("[llm_compute]\ntype = 'remote_http'\nurl = 'u'\nauth_token = 't'", "remote_http"),
        ("[[variables_provider]]\ntype = 'vault'\nurl = 'u'\ntoken = 't'\nmount = 'm'", "vault"),
    ] {
        let said = Launch::probe("key_value_stores = ['default']").runtime_config(configuration).refused();
        assert!(said.contains(named), "{configuration}: {said}");
    }
}

#[test]
fn a_component_that_imports_what_the_host_lacks_is_refused_by_the_imports_name() {
    let component = "(component (import \"example:absent/thing@1.0.0\" (instance (export \"call\" (func)))))";
    let launch = Launch::new(
        "
        spin_manifest_version = 2
        [application]
        name = 'imports'
        [[trigger.http]]
        route = '/...'
        component = 'probe'
        [component.probe]
        source = 'importing.wasm'
        ",
    );
    std::fs::write(launch.directory().join("importing.wasm"), wat::parse_str(component).unwrap()).unwrap();
    let said = launch.refused();
    assert!(said.contains("example:absent/thing@1.0.0"), "{said}");
}

/// What Spin SDK 5 makes exports and imports HTTP of WASI 0.2.
#[test]
fn a_component_of_an_older_sdk_is_refused_by_what_it_lacks() {
    for (component, named) in [
        (
            "(component (instance $i) (export \"wasi:http/incoming-handler@0.2.0\" (instance $i)))",
            "wasi:http/handler@0.3",
        ),
        (
            "(component (import \"wasi:http/outgoing-handler@0.2.0\" (instance (export \"handle\" (func)))))",
            "wasi:http/outgoing-handler@0.2.0",
        ),
    ] {
        let launch = Launch::probe("");
        let manifest = std::fs::read_to_string(launch.directory().join("spin.toml")).unwrap();
        let source = manifest.lines().find(|line| line.starts_with("source")).unwrap();
        let launch = launch.file("spin.toml", &manifest.replace(source, "source = 'old.wasm'"));
        std::fs::write(launch.directory().join("old.wasm"), wat::parse_str(component).unwrap()).unwrap();
        let said = launch.refused();
        assert!(said.contains(named), "{said}");
    }
}

#[test]
fn inferencing_is_refused_by_name_when_called() {
    let host = Launch::probe("ai_models = ['llama2-chat']").start();
    let error = host.post("/infer", "Once upon a time");
    assert!(error.host_error().contains("inferencing"), "{}", error.text());
}

#[test]
fn a_component_that_is_not_there_is_refused_by_its_path() {
    let launch = Launch::probe("");
    let manifest = std::fs::read_to_string(launch.directory().join("spin.toml")).unwrap();
    let source = manifest.lines().find(|line| line.starts_with("source")).unwrap();
    let said = launch.file("spin.toml", &manifest.replace(source, "source = 'absent.wasm'")).refused();
    assert!(said.contains("absent.wasm"), "{said}");
}

#[test]
fn a_route_to_a_component_that_is_not_declared_is_refused_by_name() {
    let said = Launch::probe("[[trigger.http]]\nroute = '/x'\ncomponent = 'forgotten'").refused();
    assert!(said.contains("forgotten"), "{said}");
}

#[test]
fn a_literal_allowed_host_with_a_path_is_refused() {
    let said = Launch::probe("allowed_outbound_hosts = ['https://example.com/path']").refused();
    assert!(said.contains("https://example.com/path"), "{said}");
}
