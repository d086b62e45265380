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
