# What the scripts share; sourced, never run. Paths are relative to the repository's root.

say() { printf '\033[1m==>\033[0m %s\n' "$*" >&2; }
die() { printf 'error: %s\n' "$*" >&2; exit 1; }
need() { command -v "$1" >/dev/null 2>&1 || die "$1 is not installed: $2"; }

# Native programs are built optimised, without the components' link-time optimisation.
NATIVE_PROFILE=native
TARGET_DIR="${CARGO_TARGET_DIR:-target}"
COMPONENTS="router token-limiter semantic-cache usage-logger"

ensure_rust() {
    need cargo "install Rust from https://rustup.rs"
    if ! rustup target list --installed 2>/dev/null | grep -qx wasm32-wasip2; then
        say "adding Rust's wasm32-wasip2 target"
        rustup target add wasm32-wasip2
    fi
}

# ensure_debian_package COMMAND PACKAGE
ensure_debian_package() {
    command -v "$1" >/dev/null 2>&1 && return
    need apt-get "install $2 by hand"
    local sudo=""
    [ "$(id -u)" = 0 ] || sudo="sudo"
    say "installing Debian's $2"
    $sudo apt-get update -qq
    $sudo env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$2" >/dev/null
}

# Each component by a command of its own, the same that `spin build` runs.
build_components() {
    local component
    for component in $COMPONENTS; do
        cargo build --quiet --release --target wasm32-wasip2 -p "$component"
    done
}

# build_native PACKAGE... (in one go and always the same ones together: cargo unites the features of what it builds
# together, and another set would compile their dependencies again)
build_native() {
    local package arguments=()
    for package in "$@"; do arguments+=(-p "$package"); done
    cargo build --quiet --profile "$NATIVE_PROFILE" "${arguments[@]}"
}

native() { printf '%s/%s/%s' "$TARGET_DIR" "$NATIVE_PROFILE" "$1"; }

# Whether a `spin` that runs these components (4.1 or newer) is on the PATH.
have_spin() {
    local version
    version=$(spin --version 2>/dev/null | awk '{print $2}') || return 1
    [ -n "$version" ] && [ "$(printf '4.1\n%s\n' "$version" | sort -V | head -n 1)" = 4.1 ]
}
