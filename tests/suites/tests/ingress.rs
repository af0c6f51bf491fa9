//! Ingress objects in a directory: controller and gateway as they run, and what clients get.

use anyhow::{Context, Result, ensure};
use boring::ssl::{SslConnector, SslMethod};
use boring::x509::X509;
use culvert_lab::{
    Lab, Mesh, MeshOptions, Pod, Process,
    objects::{self, Port},
    process, wait,
};
use culvert_suites::{client, port, start_echo};
use std::{
    fmt::Write as _,
    io::{Read, Write},
    net::{IpAddr, Ipv4Addr},
};

/// Backends, each a service of its name.
const NAMES: [&str; 3] = ["one", "two", "three"];

/// Backends outside of the mesh, a client, and the gateway for Ingresses.
struct Stage<'lab> {
    mesh: Mesh<'lab>,
    client: Pod,
    gateway: Pod,
    _backends: Vec<Process>,
}

impl<'lab> Stage<'lab> {
    /// A mesh of these objects, beside the backends.
    fn start(lab: &'lab Lab, yaml: &[(&str, String)]) -> Result<Self> {
        let client = lab.pod("n1", "outside", "client", "client")?;
        let gateway = lab.pod("n2", "culvert-system", "culvert-ingress", "culvert-ingress")?;
        let mut mesh = Mesh::new(lab, MeshOptions::default())?;
        let mut backends = Vec::new();
        for (name, last) in NAMES.into_iter().zip(20..) {
            let pod = lab.pod("n1", "demo", name, name)?;
            backends.push(start_echo(&pod, name)?);
            mesh.put_pod(&pod, &[], &[])?;
            let vip = IpAddr::V4(Ipv4Addr::new(10, 96, 0, last));
            let ports = [Port::same(port::HTTP)];
            let service = objects::service("demo", name, name, &[vip], &ports, &[]);
            mesh.put(&format!("service-{name}"), &service)?;
        }
        for (name, text) in yaml {
            mesh.put(name, text)?;
        }
        mesh.start_controller()?;
        mesh.start_waypoint_instance(&gateway, &gateway.key())?;
        Ok(Self {
            mesh,
            client,
            gateway,
            _backends: backends,
        })
    }

    /// Status, backend's name and `location` of an answer in plain text.
    fn get(&self, host: &str, path: &str) -> Result<Answer> {
        let stream = client::connect(&self.client, self.gateway.ip(), 80)?;
        ask(stream, host, path)
    }

    /// The same over TLS, with a root that must have signed what this name is proven with.
    fn get_secure(&self, root: &str, host: &str, path: &str) -> Result<Answer> {
        let stream = client::connect(&self.client, self.gateway.ip(), 443)?;
        let mut connector = SslConnector::builder(SslMethod::tls())?;
        let root = X509::from_pem(root.as_bytes())?;
        connector.cert_store_mut().add_cert(root)?;
        let stream = connector.build().connect(host, stream);
        let stream = stream.map_err(|error| anyhow::anyhow!("handshake for {host}: {error}"))?;
        ask(stream, host, path)
    }

    /// Waits until the status says this of an object.
    fn told(&self, object: &str, message: &str) -> Result<()> {
        wait::until(format!("{object}: {message}"), wait::PATIENCE, || {
            let status = self.mesh.status()?;
            let rejected = status["rejected"].as_array().context("rejected")?;
            let mut of_it = rejected.iter().filter(|one| one["object"] == object);
            let found =
                of_it.any(|one| one["message"].as_str().is_some_and(|m| m.contains(message)));
            Ok(found.then_some(()))
        })
    }
}

#[derive(Debug, PartialEq, Eq)]
struct Answer {
    status: u16,
    name: String,
    location: String,
}

impl Answer {
    fn of(name: &str) -> Self {
        Self {
            status: 200,
            name: name.into(),
            location: String::new(),
        }
    }

    fn not_found() -> Self {
        Self {
            status: 404,
            ..Self::of("")
        }
    }
}

fn ask(mut stream: impl Read + Write, host: &str, path: &str) -> Result<Answer> {
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"
    )?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    let status = text.split(' ').nth(1).and_then(|code| code.parse().ok());
    let line = |start: &str| {
        let mut lines = text.lines();
        let line = lines.find_map(|line| line.strip_prefix(start));
        line.unwrap_or_default().to_owned()
    };
    Ok(Answer {
        status: status.with_context(|| format!("no answer: {text:?}"))?,
        name: line("name: "),
        location: line("location: "),
    })
}

/// An Ingress. `spec` is indented by two already.
fn ingress(namespace: &str, name: &str, annotations: &str, spec: &str) -> String {
    format!(
        "apiVersion: networking.k8s.io/v1\nkind: Ingress\nmetadata:\n  name: {name}\n  namespace: {namespace}\n\
         \x20 annotations: {{{annotations}}}\nspec:\n  ingressClassName: culvert\n{spec}"
    )
}

/// Rules for a host, each path to a backend.
fn rule(host: &str, paths: &[(&str, &str, &str)]) -> String {
    let mut text = format!("  - host: \"{host}\"\n    http:\n      paths:\n");
    for (kind, path, service) in paths {
        let _ = writeln!(
            text,
            "      - {{path: {path}, pathType: {kind}, backend: {{service: {{name: {service}, port: {{name: p80}}}}}}}}"
        );
    }
    text
}

/// A certificate for a name that is its own root, and its key.
fn certificate(name: &str) -> Result<(String, String)> {
    let subject = format!("/CN={name}");
    let names = format!("subjectAltName=DNS:{name}");
    let pem = process::run(
        "openssl",
        &[
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
            "-nodes",
            "-days",
            "2",
            "-subj",
            &subject,
            "-addext",
            &names,
            "-keyout",
            "-",
            "-out",
            "-",
        ],
    )?;
    let at = pem
        .find("-----BEGIN CERTIFICATE-----")
        .context("no certificate")?;
    let (key, chain) = pem.split_at(at);
    Ok((chain.to_owned(), key.to_owned()))
}

fn secret(name: &str, (chain, key): &(String, String)) -> String {
    serde_json::json!({"apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/tls",
        "metadata": {"name": name, "namespace": "demo"}, "stringData": {"tls.crt": chain, "tls.key": key}})
    .to_string()
}

/// The examples of Kubernetes' page on Ingress: paths, with the backend of each, then a request's path and who answers it.
type Example = (
    &'static [(&'static str, &'static str, &'static str)],
    &'static str,
    &'static str,
);

const EXAMPLES: [Example; 24] = [
    (&[("Prefix", "/", "one")], "/", "one"),
    (&[("Prefix", "/", "one")], "/any/path/of/all", "one"),
    (&[("Exact", "/foo", "one")], "/foo", "one"),
    (&[("Exact", "/foo", "one")], "/bar", ""),
    (&[("Exact", "/foo", "one")], "/foo/", ""),
    (&[("Exact", "/foo/", "one")], "/foo", ""),
    (&[("Prefix", "/foo", "one")], "/foo", "one"),
    (&[("Prefix", "/foo", "one")], "/foo/", "one"),
    (&[("Prefix", "/foo/", "one")], "/foo", "one"),
    (&[("Prefix", "/foo/", "one")], "/foo/", "one"),
    (&[("Prefix", "/aaa/bb", "one")], "/aaa/bbb", ""),
    (&[("Prefix", "/aaa/bbb", "one")], "/aaa/bbb", "one"),
    (&[("Prefix", "/aaa/bbb/", "one")], "/aaa/bbb", "one"),
    (&[("Prefix", "/aaa/bbb", "one")], "/aaa/bbb/", "one"),
    (&[("Prefix", "/aaa/bbb", "one")], "/aaa/bbb/ccc", "one"),
    (&[("Prefix", "/aaa/bbb", "one")], "/aaa/bbbxyz", ""),
    (
        &[("Prefix", "/", "one"), ("Prefix", "/aaa", "two")],
        "/aaa/ccc",
        "two",
    ),
    (
        &[
            ("Prefix", "/", "one"),
            ("Prefix", "/aaa", "two"),
            ("Prefix", "/aaa/bbb", "three"),
        ],
        "/aaa/bbb",
        "three",
    ),
    (
        &[
            ("Prefix", "/", "one"),
            ("Prefix", "/aaa", "two"),
            ("Prefix", "/aaa/bbb", "three"),
        ],
        "/ccc",
        "one",
    ),
    (&[("Prefix", "/aaa", "one")], "/ccc", ""),
    (
        &[("Prefix", "/foo", "one"), ("Exact", "/foo", "two")],
        "/foo",
        "two",
    ),
    // Beyond the page: letters count, a query does not, and what is left to us is Prefix.
    (&[("Exact", "/foo", "one")], "/FOO", ""),
    (&[("Exact", "/foo", "one")], "/foo?a=b", "one"),
    (
        &[("ImplementationSpecific", "/foo", "one")],
        "/foo/bar",
        "one",
    ),
];

#[test]
fn paths_and_hosts_match_as_kubernetes_has_it() {
    culvert_lab::test("paths_and_hosts_match_as_kubernetes_has_it", |lab| {
        let mut rules = "  rules:\n".to_owned();
        for (i, (paths, ..)) in EXAMPLES.iter().enumerate() {
            rules.push_str(&rule(&format!("row-{i}.test"), paths));
        }
        rules.push_str(&rule("*.foo.com", &[("Prefix", "/", "one")]));
        let with_default =
            "  defaultBackend: {service: {name: three, port: {number: 80}}}\n  rules:\n";
        let with_default =
            with_default.to_owned() + &rule("rest.test", &[("Prefix", "/aaa", "one")]);
        let mut stage = Stage::start(lab, &[("table", ingress("demo", "table", "", &rules))])?;
        for (i, (paths, path, expected)) in EXAMPLES.iter().enumerate() {
            let expected = match *expected {
                "" => Answer::not_found(),
                name => Answer::of(name),
            };
            let answer = stage.get(&format!("row-{i}.test"), path)?;
            ensure!(answer == expected, "{paths:?} {path}: {answer:?}");
        }
        for (host, expected) in [
            ("bar.foo.com", Answer::of("one")),
            ("baz.bar.foo.com", Answer::not_found()),
            ("foo.com", Answer::not_found()),
        ] {
            let answer = stage.get(host, "/")?;
            ensure!(answer == expected, "{host}: {answer:?}");
        }
        // Where there is a default backend it takes what nothing matches, and nothing of other Ingresses' hosts.
        stage
            .mesh
            .put("rest", &ingress("demo", "rest", "", &with_default))?;
        wait::until("the default backend", wait::PATIENCE, || {
            Ok((stage.get("foo.com", "/")? == Answer::of("three")).then_some(()))
        })?;
        for (host, path, expected) in [
            ("rest.test", "/aaa", Answer::of("one")),
            ("rest.test", "/ccc", Answer::of("three")),
            ("baz.bar.foo.com", "/", Answer::of("three")),
            ("row-3.test", "/bar", Answer::not_found()),
        ] {
            let answer = stage.get(host, path)?;
            ensure!(answer == expected, "{host}{path}: {answer:?}");
        }
        stage.mesh.controller()?.terminate()?;
        Ok(())
    });
}

#[test]
fn each_host_proves_itself_and_belongs_to_whom_it_belongs() {
    culvert_lab::test(
        "each_host_proves_itself_and_belongs_to_whom_it_belongs",
        |lab| {
            let certificates = [certificate("s1.test")?, certificate("s2.test")?];
            let all = |host: &str, service| rule(host, &[("Prefix", "/", service)]);
            let tls = "  tls:\n  - {hosts: [s1.test], secretName: first}\n  - {hosts: [s2.test], secretName: second}\n  rules:\n";
            let both = [
                tls,
                &all("s1.test", "one"),
                &all("s2.test", "two"),
                &all("plain.test", "three"),
            ]
            .concat();
            let stage = Stage::start(
                lab,
                &[
                    ("first", secret("first", &certificates[0])),
                    ("second", secret("second", &certificates[1])),
                    (
                        "both",
                        ingress("demo", "both", "culvert.dev/ssl-redirect: \"true\"", &both),
                    ),
                ],
            )?;
            for (host, own, other, name) in [("s1.test", 0, 1, "one"), ("s2.test", 1, 0, "two")] {
                let answer = stage.get_secure(&certificates[own].0, host, "/x")?;
                ensure!(answer == Answer::of(name), "{host}: {answer:?}");
                let mistaken = stage.get_secure(&certificates[other].0, host, "/x");
                ensure!(
                    mistaken.is_err(),
                    "{host} with another's certificate: {mistaken:?}"
                );
                let answer = stage.get(host, "/x?y=z")?;
                let location = format!("https://{host}/x?y=z");
                let moved = Answer {
                    status: 308,
                    name: String::new(),
                    location,
                };
                ensure!(answer == moved, "{host}: {answer:?}");
            }
            let unknown = stage.get_secure(&certificates[0].0, "plain.test", "/");
            ensure!(
                unknown.is_err(),
                "a host without a certificate: {unknown:?}"
            );

            let taking = ingress(
                "other",
                "taker",
                "",
                &["  rules:\n", &all("s1.test", "one")].concat(),
            );
            stage.mesh.put("taker", &taking)?;
            stage.told("Ingress other/taker", "namespace demo had s1.test first")?;
            let answer = stage.get_secure(&certificates[0].0, "s1.test", "/x")?;
            ensure!(answer == Answer::of("one"), "{answer:?}");

            stage.mesh.remove("second")?;
            stage.told("Ingress demo/both", "there is no Secret demo/second")?;
            wait::until("the second host is refused", wait::PATIENCE, || {
                let refused = stage
                    .get_secure(&certificates[1].0, "s2.test", "/")
                    .is_err();
                Ok(refused.then_some(()))
            })?;
            let answer = stage.get_secure(&certificates[0].0, "s1.test", "/")?;
            ensure!(answer == Answer::of("one"), "{answer:?}");
            Ok(())
        },
    );
}
