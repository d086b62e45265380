# What the scripts share; sourced, never run. Paths are relative to the repository's root.

say() { printf '\033[1m==>\033[0m %s\n' "$*" >&2; }
die() { printf 'error: %s\n' "$*" >&2; exit 1; }
need() { command -v "$1" >/dev/null 2>&1 || die "$1 is not installed: $2"; }

# Native programs are built optimised, without the components' link-time optimisation.
NATIVE_PROFILE=native
TARGET_DIR="${CARGO_TARGET_DIR:-target}"
COMPONENTS="router token-limiter semantic-cache usage-logger"
# Never compiled natively, as the components are for their tests.
WASM_ONLY="raw-http probe-behaviour probe-pass-through probe-same-calls"
# The native programs of scripts/up, and all.
UP_PROGRAMS="dev-host mock-provider check-config"
PROGRAMS="$UP_PROGRAMS bench"

# The oldest Rust that builds this (`rust-version` in Cargo.toml).
RUST_VERSION=1.94

# is_at_least VERSION WANTED
is_at_least() { [ "$(printf '%s\n%s\n' "$2" "$1" | sort -V | head -n 1)" = "$2" ]; }

# What every build needs: Rust, its wasm target, and the C compiler that links and that builds SQLite and ring.
# No rust-toolchain.toml: the name of a channel there makes rustup ask its server for it, also where one is installed.
ensure_rust() {
    need cargo "install Rust from https://rustup.rs"
    need rustup "the wasm target is installed with it: https://rustup.rs"
    local version
    version=$(rustc --version | awk '{print $2}')
    is_at_least "$version" "$RUST_VERSION" || die "Rust $RUST_VERSION or newer is needed, this is $version: run rustup update stable"
    if ! rustup target list --installed 2>/dev/null | grep -qx wasm32-wasip2; then
        say "adding Rust's wasm32-wasip2 target"
        rustup target add wasm32-wasip2
    fi
    ensure_debian_package cc build-essential
}

# ensure_rust_components COMPONENT... (rustup's minimal profile lacks rustfmt and clippy)
ensure_rust_components() {
    local component
    for component in "$@"; do
        rustup component list --installed | grep -q "^$component\(-\|$\)" && continue
        say "adding Rust's $component"
        rustup component add "$component"
    done
}

# ensure_debian_package COMMAND PACKAGE
ensure_debian_package() {
    command -v "$1" >/dev/null 2>&1 || install_debian_package "$2"
}

install_debian_package() {
    need apt-get "install $1 by hand"
    local sudo=""
    if [ "$(id -u)" != 0 ]; then
        need sudo "install $1 by hand, as root"
        sudo=sudo
    fi
    say "installing Debian's $1"
    $sudo apt-get update -qq
    $sudo env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$1" >/dev/null
}

# A Python of our own with what the tests import.
venv=.cache/venv
ensure_venv() {
    ensure_python
    # Of another Python's packages the new one finds none.
    local wanted
    wanted=$(python3 --version; cat tests/requirements.txt)
    [ "$wanted" = "$(cat "$venv/installed.txt" 2>/dev/null)" ] && return
    # Debian has the part of Python that makes environments with pip in them in a package of its own.
    python3 -c 'import ensurepip, venv' 2>/dev/null || install_debian_package python3-venv
    say "installing the Python clients into $venv"
    python3 -m venv --clear "$venv"
    "$venv/bin/pip" install --quiet --disable-pip-version-check -r tests/requirements.txt
    printf '%s\n' "$wanted" >"$venv/installed.txt"
}

ensure_python() {
    need python3 "install Python 3.11 or newer"
    python3 -c 'import sys; sys.exit(sys.version_info < (3, 11))' || die "Python 3.11 or newer is needed, this is $(python3 --version)"
}

ensure_node() {
    need npm "install Node.js 20 or newer"
    node -e 'process.exit(parseInt(process.versions.node) < 20 ? 1 : 0)' || die "Node.js 20 or newer is needed, this is $(node --version)"
}

# At once, so that they share two processors; what comes out is what `spin build` makes one by one (`scripts/lint` compares
# the features that they are built with).
build_components() { build_wasm $COMPONENTS; }

# build_wasm PACKAGE...
build_wasm() { cargo build --quiet --release --target wasm32-wasip2 $(each -p "$@"); }

# What scripts/bench runs beside the components.
build_bench() {
    build_wasm probe-pass-through probe-same-calls
    build_native $PROGRAMS
}

# build_native PACKAGE...
build_native() { cargo build --quiet --profile "$NATIVE_PROFILE" $(each -p "$@"); }

# each OPTION ARGUMENT...: the option before each of them
each() {
    local option=$1
    shift
    printf -- "$option %s " "$@"
}

native() { printf '%s/%s/%s' "$TARGET_DIR" "$NATIVE_PROFILE" "$1"; }

# Whether a `spin` that runs these components (4.1 or newer) is on the PATH. Others are called so, too: Debian's `spin`
# checks models.
have_spin() {
    local version
    version=$(spin --version 2>/dev/null | sed -n '1s/^spin \([0-9][^ ]*\).*/\1/p') || return 1
    [ -n "$version" ] && is_at_least "$version" 4.1
}
