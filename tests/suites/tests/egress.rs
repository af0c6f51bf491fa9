//! What leaves the mesh: what a policy allows by address or by a name that is the address's own, and nothing else, whatever
//! a client claims.

use anyhow::{Context, Result, ensure};
use culvert_lab::{Lab, MeshOptions, Pod, Process, objects};
use culvert_suites::{Fixture, client, port, workload};
use std::net::{IpAddr, Ipv4Addr};

/// The resolver of the pods of `n1`, which ztunnel trusts.
const RESOLVER: &str = "10.11.0.1";
/// Outside of the cluster's ranges: of `api.example.com` and everything below `example.org`.
const GOOD: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 7);
/// Of `evil.example`.
const EVIL: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 8);
/// In the block that the policy allows.
const INSIDE: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 18);
/// In the block, and excepted from it.
const EXCEPTED: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 17);

/// Servers outside of the mesh, and the resolver that knows their names.
struct Outside {
    resolver: Process,
    _servers: [Process; 2],
}

fn mesh(lab: &Lab) -> Result<(Fixture<'_>, Outside)> {
    let options = MeshOptions {
        ztunnel_args: vec!["--resolvers".into(), RESOLVER.into()],
        ..MeshOptions::default()
    };
    let fixture = Fixture::start(lab, options)?;
    let outside = start_outside(lab)?;
    Ok((fixture, outside))
}

/// In the network namespace of `n2`, at addresses that no pod has.
fn start_outside(lab: &Lab) -> Result<Outside> {
    let (near, far) = (&lab.node("n1")?.net, &lab.node("n2")?.net);
    for address in [GOOD, EVIL, INSIDE, EXCEPTED] {
        far.script(&format!("ip addr add {address}/32 dev lo"))?;
    }
    near.script("ip route add 192.0.2.0/24 via 10.10.0.2")?;
    let args = [
        "dnsmasq",
        "--keep-in-foreground",
        "--no-resolv",
        "--no-hosts",
        "--log-queries",
        "--log-facility=-",
        "--address=/api.example.com/192.0.2.7",
        "--address=/example.org/192.0.2.7",
        "--address=/evil.example/192.0.2.8",
        "--user=root",
        "--pid-file=",
    ];
    let mut dnsmasq = near.spawn("dnsmasq", &args)?;
    near.wait_for_server(&mut dnsmasq, 53)?;
    let (key, certificate) = (lab.dir().join("key.pem"), lab.dir().join("cert.pem"));
    let (key, certificate) = (key.display().to_string(), certificate.display().to_string());
    let make = format!(
        "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 1 \
         -subj /CN=outside -keyout {key} -out {certificate} 2>/dev/null"
    );
    far.script(&make)?;
    let args = [
        "openssl",
        "s_server",
        "-accept",
        "443",
        "-www",
        "-cert",
        &certificate,
        "-key",
        &key,
    ];
    let mut https = far.spawn("https", &args)?;
    far.wait_for_server(&mut https, 443)?;
    let mut argv = vec![
        culvert_lab::programs::own("culvert-echo")?
            .display()
            .to_string(),
    ];
    argv.extend(["--name", "outside"].map(str::to_owned));
    for (flag, port) in [
        ("--echo", port::ECHO),
        ("--banner", port::BANNER),
        ("--http", port::HTTP),
    ] {
        argv.extend([flag.to_owned(), port.to_string()]);
    }
    let mut echo = far.spawn("echo-outside", &argv)?;
    far.wait_for_server(&mut echo, port::HTTP)?;
    Ok(Outside {
        resolver: dnsmasq,
        _servers: [https, echo],
    })
}

/// Puts an EgressPolicy `demo/NAME` in force at the client's node. `spec` is indented by two already.
fn put(fixture: &Fixture<'_>, name: &str, spec: &str) -> Result<()> {
    let yaml = format!(
        "apiVersion: culvert.dev/v1alpha1\nkind: EgressPolicy\n\
         metadata:\n  name: {name}\n  namespace: demo\nspec:\n{spec}\n"
    );
    fixture.mesh.put(name, &yaml)?;
    let what = format!("EgressPolicy {name} in force");
    fixture.mesh.wait_ztunnel_state("n1", &what, |dump| {
        let named = format!("\"demo/{name}\"");
        let names = workload(dump, &fixture.client)
            .is_some_and(|found| found["egress_policies"].to_string().contains(&named));
        names && dump["egress_policies"].to_string().contains(&named)
    })
}

/// How curl ends in a pod: 0 if it got an answer.
fn curl(pod: &Pod, args: &[&str]) -> Result<i32> {
    let mut argv = vec!["curl", "-k", "-sS", "-o", "/dev/null", "-m", "15"];
    argv.extend(args);
    let output = pod.net.exec(&argv)?;
    output.status.code().context("curl was killed")
}

fn reaches(fixture: &Fixture<'_>, args: &[&str]) -> Result<()> {
    let code = curl(&fixture.client, args)?;
    ensure!(code == 0, "{args:?} is refused: curl says {code}");
    Ok(())
}

/// Refused, for this reason, by a reset and not by silence (28).
fn refused(fixture: &Fixture<'_>, reason: &str, args: &[&str]) -> Result<()> {
    let before = denied(fixture, reason)?;
    let code = curl(&fixture.client, args)?;
    ensure!(![0, 6, 28].contains(&code), "{args:?}: curl says {code}");
    let now = denied(fixture, reason)?;
    ensure!(now == before + 1, "{args:?}: {reason} {before} -> {now}");
    Ok(())
}

/// How many connections of pods were refused for a reason.
fn denied(fixture: &Fixture<'_>, reason: &str) -> Result<u64> {
    let metrics = fixture.mesh.ztunnel_metrics("n1")?;
    let of_reason = format!("direction=\"outbound\",reason=\"{reason}\"");
    let lines = metrics.lines().filter(|line| {
        line.starts_with("culvert_connections_denied_total{") && line.contains(&of_reason)
    });
    let counts = lines.filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok());
    Ok(counts.sum())
}

fn ip(address: Ipv4Addr) -> IpAddr {
    IpAddr::V4(address)
}

/// A server that speaks first meets a client that names nobody, unless its address is allowed.
fn a_client_that_waits_is_reset(fixture: &Fixture<'_>) -> Result<()> {
    let before = denied(fixture, "egress_name_missing")?;
    let mut silent = client::connect(&fixture.client, ip(GOOD), port::BANNER)?;
    ensure!(client::ended(&mut silent)?.is_some(), "it is reset");
    ensure!(denied(fixture, "egress_name_missing")? == before + 1);
    Ok(())
}

#[test]
fn a_name_leads_to_its_own_addresses_and_a_block_to_what_is_in_it() {
    let name = "a_name_leads_to_its_own_addresses_and_a_block_to_what_is_in_it";
    culvert_lab::test(name, |lab| {
        let (mut fixture, outside) = mesh(lab)?;
        for url in ["https://api.example.com/", "http://evil.example/"] {
            reaches(&fixture, &[url])?;
        }
        put(
            &fixture,
            "names",
            "  selector: {matchLabels: {app: client}}\n  egress:\n\
             \x20 - to: [{host: api.example.com}]\n    ports: [{port: 443}]\n\
             \x20 - to: [{host: \"*.example.org\"}]\n    ports: [{port: 80}, {port: 7000, endPort: 7001}]\n\
             \x20 - to: [{cidr: 192.0.2.16/28, except: [192.0.2.17]}]\n    ports: [{port: 7000, endPort: 7001}]",
        )?;
        // Before any question of the pod's was seen: ztunnel asks for itself.
        let good = format!("api.example.com:443:{GOOD}");
        reaches(&fixture, &["--resolve", &good, "https://api.example.com/"])?;
        reaches(&fixture, &["https://api.example.com/"])?;
        reaches(&fixture, &["http://a.b.example.org/"])?;
        // What the pod was told is what was learnt, by the one question that ztunnel asked in its place.
        outside
            .resolver
            .wait_for_log("query[A] a.b.example.org from")?;
        let log = outside.resolver.log();
        ensure!(
            log.matches("query[A] a.b.example.org from").count() == 1,
            "{log}"
        );
        let from_pod = format!("a.b.example.org from {}", fixture.client.ip());
        ensure!(!log.contains(&from_pod), "{log}");

        // Other names, other ports, and the name above a wildcard.
        for url in [
            "https://evil.example/",
            "http://api.example.com/",
            "http://example.org/",
            "https://api.example.com:8443/",
        ] {
            refused(&fixture, "egress_not_allowed", &[url])?;
        }
        fixture
            .mesh
            .ztunnel("n1")?
            .wait_for_log("deny_reason=\"egress_not_allowed\" policy=\"demo/names\"")?;
        // A name that is allowed, on the way to an address that is not its own.
        let lie = format!("api.example.com:443:{EVIL}");
        refused(
            &fixture,
            "egress_name_unproven",
            &["--resolve", &lie, "https://api.example.com/"],
        )?;
        let lie = format!("a.example.org:80:{EVIL}");
        refused(
            &fixture,
            "egress_name_unproven",
            &["--resolve", &lie, "http://a.example.org/"],
        )?;
        // An address without a name, though it is that of one.
        refused(
            &fixture,
            "egress_name_missing",
            &[&format!("https://{GOOD}/")],
        )?;
        refused(
            &fixture,
            "egress_name_missing",
            &[&format!("http://{GOOD}/")],
        )?;
        refused(
            &fixture,
            "egress_name_missing",
            &["--http2-prior-knowledge", "http://a.example.org/"],
        )?;

        a_client_that_waits_is_reset(&fixture)?;
        client::refused(&fixture.client, ip(GOOD), port::ECHO)?;
        let mut greeted = client::connect(&fixture.client, ip(INSIDE), port::BANNER)?;
        std::io::Read::read_exact(&mut greeted, &mut [0; 4])?;
        client::echo(&fixture.client, ip(INSIDE), port::ECHO, "in the block")?;
        client::refused(&fixture.client, ip(EXCEPTED), port::ECHO)?;

        // The mesh is not outside, and other pods are not selected.
        fixture.talks()?;
        ensure!(curl(&fixture.stranger, &["http://evil.example/"])? == 0);
        let other = fixture.add_pod("n1", "elsewhere", "other", "other")?;
        client::echo(&other, ip(EVIL), port::ECHO, "not selected")
    });
}

#[test]
fn a_change_of_policy_ends_what_is_not_allowed_any_more_and_nothing_else() {
    let name = "a_change_of_policy_ends_what_is_not_allowed_any_more_and_nothing_else";
    culvert_lab::test(name, |lab| {
        let (fixture, _outside) = mesh(lab)?;
        let open = |address| client::connect(&fixture.client, ip(address), port::ECHO);
        let (mut inside, mut good) = (open(INSIDE)?, open(GOOD)?);
        let mut within = client::connect(&fixture.client, fixture.server.ip(), port::ECHO)?;
        for stream in [&mut inside, &mut good, &mut within] {
            client::ping(stream, "before any policy")?;
        }
        put(
            &fixture,
            "block",
            "  egress: [{to: [{cidr: 192.0.2.16/28}]}]",
        )?;
        ensure!(client::ended(&mut good)?.is_some(), "it is reset");
        client::ping(&mut inside, "still allowed")?;
        client::refused(&fixture.client, ip(GOOD), port::ECHO)?;
        // Of this one nobody knows a name, and a name is what it would need.
        put(
            &fixture,
            "block",
            "  egress: [{to: [{host: api.example.com}]}]",
        )?;
        ensure!(client::ended(&mut inside)?.is_some(), "it is reset");
        reaches(&fixture, &["https://api.example.com/"])?;
        // Another policy allows beside it, and none allows nothing.
        put(&fixture, "more", "  egress: [{to: [{cidr: 192.0.2.18}]}]")?;
        client::echo(
            &fixture.client,
            ip(INSIDE),
            port::ECHO,
            "allowed by another",
        )?;
        reaches(&fixture, &["https://api.example.com/"])?;
        put(&fixture, "more", "  egress: []")?;
        let emptied = "EgressPolicy more without rules";
        fixture.mesh.wait_ztunnel_state("n1", emptied, |dump| {
            let mut policies = dump["egress_policies"].as_array().into_iter().flatten();
            let more = policies.find(|policy| policy["name"] == "demo/more");
            more.is_some_and(|more| more["rules"] == serde_json::json!([]))
        })?;
        client::refused(&fixture.client, ip(INSIDE), port::ECHO)?;
        client::ping(&mut within, "the mesh is not outside")
    });
}

#[test]
fn with_registry_only_nothing_leaves_but_what_a_policy_allows() {
    let name = "with_registry_only_nothing_leaves_but_what_a_policy_allows";
    culvert_lab::test(name, |lab| {
        let (fixture, _outside) = mesh(lab)?;
        let mut open = client::connect(&fixture.client, ip(GOOD), port::ECHO)?;
        client::ping(&mut open, "before")?;
        let config = objects::mesh_config("24h", "Hbone") + "  outboundTraffic: RegistryOnly\n";
        fixture.mesh.put("mesh", &config)?;
        fixture
            .mesh
            .wait_ztunnel_state("n1", "RegistryOnly", |dump| {
                dump["settings"]["registry_only"] == true
            })?;
        ensure!(client::ended(&mut open)?.is_some(), "it is reset");
        refused(
            &fixture,
            "egress_registry_only",
            &["https://api.example.com/"],
        )?;
        fixture.talks()?;
        put(
            &fixture,
            "names",
            "  egress: [{to: [{host: api.example.com}]}]",
        )?;
        reaches(&fixture, &["https://api.example.com/"])?;
        refused(&fixture, "egress_not_allowed", &["https://evil.example/"])
    });
}
