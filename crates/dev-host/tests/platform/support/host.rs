//! A running dev-host: an application directory of its own, a port of its own.

use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};
use std::{fs, iter};

use tempfile::TempDir;

use super::client::{Client, Reply};
use super::probes;

/// How long a start may take; it compiles the components, on as many threads as the machine has, beside other tests.
const STARTING: Duration = Duration::from_secs(300);

/// An application to start.
pub struct Launch {
    directory: TempDir,
    arguments: Vec<String>,
    environment: Vec<(String, String)>,
}

/// A started application. Dropping it kills the process, then removes the directory.
pub struct Host {
    process: Process,
    launch: Launch,
    pub address: SocketAddr,
}

impl Launch {
    /// An application with this `spin.toml`, where `BEHAVIOUR` and `PASS_THROUGH` stand for the probes' files.
    pub fn new(manifest: &str) -> Self {
        let probes = probes::built();
        let manifest = manifest
            .replace("BEHAVIOUR", &probes.behaviour.display().to_string())
            .replace("PASS_THROUGH", &probes.pass_through.display().to_string());
        let launch =
            Self { directory: TempDir::new().unwrap(), arguments: Vec::new(), environment: Vec::new() };
        launch.file("spin.toml", &manifest)
    }

    /// An application of one behaviour probe, `probe`, that answers every path and may use what these lines
    /// of its manifest declare (`key_value_stores = ["default"]`, …).
    pub fn probe(declarations: &str) -> Self {
        Self::new(&format!(
            "{HEADER}{PROBE_TRIGGER}\n[component.probe]\nsource = 'BEHAVIOUR'\n{declarations}"
        ))
    }

    /// Like [`Launch::probe`], with application variables declared before it.
    pub fn probe_with_variables(variables: &str, declarations: &str) -> Self {
        Self::new(&format!(
            "{HEADER}[variables]\n{variables}\n{PROBE_TRIGGER}\n[component.probe]\nsource = 'BEHAVIOUR'\n{declarations}"
        ))
    }

    /// Writes a file into the application's directory.
    pub fn file(self, name: &str, content: &str) -> Self {
        fs::write(self.directory.path().join(name), content).unwrap();
        self
    }

    /// The application's directory, which is also the process's working directory.
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// Gives this runtime configuration.
    pub fn runtime_config(self, content: &str) -> Self {
        self.file("runtime-config.toml", content)
            .argument("--runtime-config-file")
            .argument("runtime-config.toml")
    }

    /// Passes `--variable`.
    pub fn variable(self, assignment: &str) -> Self {
        self.argument("--variable").argument(assignment)
    }

    /// Passes one more argument.
    pub fn argument(mut self, argument: &str) -> Self {
        self.arguments.push(argument.to_owned());
        self
    }

    /// Sets an environment variable of the process.
    pub fn environment(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Starts the application and waits until it serves.
    pub fn start(self) -> Host {
        let (process, address) = Process::start(&self);
        match address {
            Some(address) => Host { process, launch: self, address },
            None => panic!("dev-host does not start: {}", process.ended().1),
        }
    }

    /// Starts the application, expecting that it refuses to; returns what it says.
    pub fn refused(self) -> String {
        let (process, address) = Process::start(&self);
        assert!(address.is_none(), "dev-host should have refused this application, but it serves");
        let (status, said) = process.ended();
        assert!(!status.success(), "refused, but with {status}: {said}");
        said
    }
}

const HEADER: &str = "spin_manifest_version = 2\n[application]\nname = 'probes'\n";
const PROBE_TRIGGER: &str = "[[trigger.http]]\nroute = '/...'\ncomponent = 'probe'\n";

impl Host {
    /// A connection to the application.
    pub fn connect(&self) -> Client {
        Client::connect(self.address)
    }

    /// Sends a request on a connection of its own.
    pub fn request(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Reply {
        let mut client = self.connect();
        client.send(method, path, headers, body);
        client.read()
    }

    pub fn get(&self, path: &str) -> Reply {
        self.request("GET", path, &[], b"")
    }

    pub fn post(&self, path: &str, body: impl AsRef<[u8]>) -> Reply {
        self.request("POST", path, &[], body.as_ref())
    }

    /// Has the probe fetch a URL; returns the outcome it reports.
    pub fn fetch(&self, path: &str, url: &str, headers: &[(&str, &str)]) -> serde_json::Value {
        let headers: Vec<_> = iter::once(("x-url", url)).chain(headers.iter().copied()).collect();
        self.request("GET", path, &headers, b"").json()
    }

    /// A file below the application's directory.
    pub fn path(&self, name: &str) -> PathBuf {
        self.launch.directory.path().join(name)
    }

    /// Kills the process and starts the same application in the same directory.
    pub fn restart(self) -> Host {
        let Host { process, launch, .. } = self;
        drop(process);
        launch.start()
    }

    /// The operating system's number of the process.
    pub fn pid(&self) -> u32 {
        self.process.child.id()
    }

    /// Kills the process; returns all that it said.
    pub fn kill(mut self) -> String {
        let _ = self.process.child.kill();
        self.process.ended().1
    }

    /// Asks the process to end, as service managers do; returns how long that took.
    pub fn terminate(self) -> Duration {
        let asked = Instant::now();
        let signal = Command::new("kill").args(["-TERM", &self.process.child.id().to_string()]).status();
        assert!(signal.unwrap().success());
        self.process.ended();
        asked.elapsed()
    }
}

/// The operating system's side of a host; dropping it kills it.
struct Process {
    child: Child,
    output: Vec<JoinHandle<String>>,
}

impl Process {
    /// Starts it and waits for the address it serves on; `None` if it ends instead.
    fn start(launch: &Launch) -> (Self, Option<SocketAddr>) {
        let mut child = Command::new(env!("CARGO_BIN_EXE_dev-host"))
            .current_dir(launch.directory.path())
            .args(["up", "--from", "spin.toml", "--listen", "127.0.0.1:0"])
            .args(&launch.arguments)
            .envs(launch.environment.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let (announce, announced) = mpsc::channel();
        let stdout = collect(child.stdout.take().unwrap(), Some(announce));
        let stderr = collect(child.stderr.take().unwrap(), None);
        let process = Self { child, output: vec![stdout, stderr] };
        match announced.recv_timeout(STARTING) {
            Ok(address) => (process, Some(address)),
            // The output ended without a word.
            Err(RecvTimeoutError::Disconnected) => (process, None),
            Err(RecvTimeoutError::Timeout) => panic!("dev-host neither serves nor ends"),
        }
    }

    /// Waits for its end; returns what it said.
    fn ended(mut self) -> (ExitStatus, String) {
        (self.child.wait().unwrap(), self.said())
    }

    fn said(&mut self) -> String {
        self.output.drain(..).map(|output| output.join().unwrap_or_default()).collect()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if thread::panicking() {
            eprintln!("--- dev-host said:\n{}---", self.said());
        }
    }
}

/// Reads an output to its end, announcing the address once it appears.
fn collect(
    output: impl Read + Send + 'static,
    mut announce: Option<mpsc::Sender<SocketAddr>>,
) -> JoinHandle<String> {
    thread::spawn(move || {
        let mut said = String::new();
        let mut lines = BufReader::new(output);
        while lines.read_line(&mut said).is_ok_and(|bytes| bytes > 0) {
            let serving = said.lines().last().and_then(|line| line.split_once("Serving http://"));
            if let Some((_, address)) = serving
                && let Some(announce) = announce.take()
            {
                let _ = announce.send(address.trim().parse().unwrap());
            }
        }
        said
    })
}
