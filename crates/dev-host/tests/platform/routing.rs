//! Which component a request reaches.

use crate::support::Launch;

/// One component per kind of route; each knows its own name.
const ROUTES: &str = "
    spin_manifest_version = 2
    [application]
    name = 'routes'

    [[trigger.http]]
    route = '/api/...'
    component = 'api'
    [component.api]
    source = 'BEHAVIOUR'
    variables = { name = 'api' }

    [[trigger.http]]
    route = '/api/deep/...'
    component = 'deep'
    [component.deep]
    source = 'BEHAVIOUR'
    variables = { name = 'deep' }

    [[trigger.http]]
    route = '/variable'
    component = 'exact'
    [component.exact]
    source = 'BEHAVIOUR'
    variables = { name = 'exact' }

    [[trigger.http]]
    route = { private = true }
    component = 'hidden'
    [component.hidden]
    source = 'BEHAVIOUR'
    variables = { name = 'hidden' }
";

#[test]
fn the_longest_matching_prefix_wins() {
    let host = Launch::new(ROUTES).start();
    for (path, component) in
        [("/api/variable", "api"), ("/api/deep/variable", "deep"), ("/variable", "exact")]
    {
        assert_eq!(host.get(&format!("{path}?name=name")).ok(), component, "{path}");
    }
}

#[test]
fn a_path_without_a_route_is_not_found() {
    let host = Launch::new(ROUTES).start();
    for path in ["/", "/nowhere", "/apix/variable", "/variable/more", "/hidden/variable"] {
        let reply = host.get(path);
        assert_eq!((reply.status, reply.text()), (404, ""), "{path}");
    }
}

#[test]
fn the_health_path_answers_without_a_component() {
    let host = Launch::new(ROUTES).start();
    assert_eq!(host.get("/.well-known/spin/health").ok(), "OK");
    assert_eq!(host.get("/.well-known/spin/unknown").status, 404);
}

#[test]
fn a_component_is_reached_on_every_one_of_its_routes() {
    let host = Launch::new(&ROUTES.replace(
        "[component.hidden]",
        "[[trigger.http]]\nroute = '/also/...'\ncomponent = 'hidden'\n[component.hidden]",
    ))
    .start();
    assert_eq!(host.get("/also/variable?name=name").ok(), "hidden");
}
