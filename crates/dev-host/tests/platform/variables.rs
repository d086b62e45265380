//! Where a component's variables come from.

use crate::support::Launch;

const DECLARED: &str = "
    plain = { default = 'from the manifest' }
    required = { required = true }
    secret = { default = '', secret = true }
";
const USED: &str = "
    [component.probe.variables]
    plain = '{{ plain }}'
    joined = 'a {{ plain }} and {{ required }}'
    fixed = 'just text'
";

fn probe() -> Launch {
    Launch::probe_with_variables(DECLARED, USED)
}

#[test]
fn a_default_a_template_and_a_plain_text_are_values() {
    let host = probe().variable("required=given").start();
    assert_eq!(host.get("/variable?name=plain").ok(), "from the manifest");
    assert_eq!(host.get("/variable?name=joined").ok(), "a from the manifest and given");
    assert_eq!(host.get("/variable?name=fixed").ok(), "just text");
}

#[test]
fn the_environment_beats_a_default_and_the_command_line_beats_both() {
    let environment = || {
        probe()
            .environment("SPIN_VARIABLE_PLAIN", "from the environment")
            .environment("SPIN_VARIABLE_REQUIRED", "also from the environment")
    };
    let host = environment().start();
    assert_eq!(host.get("/variable?name=plain").ok(), "from the environment");
    let host = environment().variable("plain=from the command line").start();
    assert_eq!(host.get("/variable?name=plain").ok(), "from the command line");
}

#[test]
fn the_command_line_may_name_a_file_for_one_value_or_for_many() {
    let host = probe()
        .file("value.txt", "from = a file\n")
        .file("many.toml", "required = 'from a table'\n")
        .variable("plain=@value.txt")
        .variable("@many.toml")
        .start();
    assert_eq!(host.get("/variable?name=plain").ok(), "from = a file\n");
    assert_eq!(host.get("/variable?name=joined").ok(), "a from = a file\n and from a table");
    let host = probe()
        .file("many.json", r#"{"plain": "from an object", "required": "too"}"#)
        .variable("@many.json")
        .start();
    assert_eq!(host.get("/variable?name=joined").ok(), "a from an object and too");
}

#[test]
fn a_provider_of_the_runtime_configuration_comes_between_command_line_and_environment() {
    let configuration = "
        [[variables_provider]]
        type = 'static'
        values = { plain = 'from the provider', required = 'also from the provider' }
        ";
    let configured =
        || probe().runtime_config(configuration).environment("SPIN_VARIABLE_PLAIN", "from the environment");
    assert_eq!(configured().start().get("/variable?name=plain").ok(), "from the provider");
    let host = configured().variable("plain=from the command line").start();
    assert_eq!(host.get("/variable?name=plain").ok(), "from the command line");
}

#[test]
fn a_value_may_contain_equals_signs() {
    let host = probe().variable("required=").variable("plain=a=b=c").start();
    assert_eq!(host.get("/variable?name=plain").ok(), "a=b=c");
}

#[test]
fn a_missing_required_variable_is_refused_by_name() {
    let said = probe().refused();
    assert!(said.contains("required"), "{said}");
}

#[test]
fn a_variable_the_component_does_not_declare_is_undefined() {
    let host = probe().variable("required=given").variable("secret=sesame").start();
    for name in ["required", "secret", "nothing"] {
        let error = host.get(&format!("/variable?name={name}"));
        assert!(error.host_error().starts_with("Error::Undefined("), "{name}: {}", error.text());
    }
}

#[test]
fn a_template_of_an_unknown_variable_is_refused_by_name() {
    let said = Launch::probe("[component.probe.variables]\nplain = '{{ unheard_of }}'").refused();
    assert!(said.contains("unheard_of"), "{said}");
}
