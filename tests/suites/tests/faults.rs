//! Faults of connections: what is asked for happens to those that it is aimed at and to nobody else, over HBONE, within a
//! node and in plain text; it is seen; and it ends by itself.

use anyhow::{Context, Result, ensure};
use culvert_lab::{
    Lab, MeshOptions, Pod, Process,
    objects::{self, Port},
    wait,
};
use culvert_suites::{Fixture, VIP4, client, port};
use std::{
    io::{ErrorKind, Read, Write},
    net::{IpAddr, Ipv4Addr, TcpStream},
    time::{Duration, Instant},
};

/// Of the service `cache`: redis in the server's pod.
const CACHE: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 96, 0, 20));
const REDIS: u16 = 6379;

/// One port of a service, as a spec says it.
fn target(service: &str, port: u16) -> String {
    format!("  targetRefs: [{{kind: Service, name: {service}, sectionName: p{port}}}]\n")
}

/// Puts a FaultPolicy `NAME` in force at the server's node. `spec` is indented by two already.
fn put(fixture: &Fixture<'_>, name: &str, spec: &str) -> Result<()> {
    let yaml = format!(
        "apiVersion: culvert.dev/v1alpha1\nkind: FaultPolicy\n\
         metadata:\n  name: {name}\n  namespace: demo\nspec:\n{spec}\n"
    );
    fixture.mesh.put(name, &yaml)?;
    wait_fault(fixture, name, true)
}

fn lift(fixture: &Fixture<'_>, name: &str) -> Result<()> {
    fixture.mesh.remove(name)?;
    wait_fault(fixture, name, false)
}

fn wait_fault(fixture: &Fixture<'_>, name: &str, present: bool) -> Result<()> {
    let what = format!("fault {name} {}", if present { "in force" } else { "gone" });
    fixture.mesh.wait_ztunnel_state("n2", &what, |dump| {
        let named = format!("\"demo/{name}\"");
        dump["faults"].to_string().contains(&named) == present
    })
}

/// How many connections the policies struck so far.
fn struck(fixture: &Fixture<'_>) -> Result<u64> {
    let metrics = fixture.mesh.ztunnel_metrics("n2")?;
    let lines = metrics.lines();
    let mine = lines.filter(|line| line.starts_with("culvert_connection_faults_total{"));
    let counts = mine.filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok());
    Ok(counts.sum())
}

/// Runs redis in the server's pod, as the service `cache`.
fn start_redis(fixture: &Fixture<'_>) -> Result<Process> {
    let server = &fixture.server;
    let argv = [
        "redis-server",
        "--save",
        "",
        "--bind",
        "0.0.0.0",
        "--protected-mode",
        "no",
    ];
    let mut redis = server.net.spawn("redis", &argv)?;
    server.net.wait_for_server(&mut redis, REDIS)?;
    let service = objects::service(
        "demo",
        "cache",
        "server",
        &[CACHE],
        &[Port::same(REDIS)],
        &[],
    );
    fixture.mesh.put("cache", &service)?;
    wait::until("redis by its service", wait::PATIENCE, || {
        Ok((redis_ping(&fixture.client)? == "PONG").then_some(()))
    })?;
    Ok(redis)
}

fn redis_ping(pod: &Pod) -> Result<String> {
    let host = CACHE.to_string();
    let argv = ["timeout", "3", "redis-cli", "-h", &host, "PING"];
    Ok(pod.net.exec(&argv)?.stdout.trim().to_owned())
}

/// curl's word on how long a request took, in seconds, or why there was no answer.
fn curl(pod: &Pod, url: &str) -> Result<Result<f64, i32>> {
    let argv = [
        "curl",
        "-sS",
        "-o",
        "/dev/null",
        "-w",
        "%{time_total}",
        "-m",
        "20",
        url,
    ];
    let output = pod.net.exec(&argv)?;
    match output.status.code() {
        Some(0) => Ok(Ok(output.stdout.trim().parse()?)),
        code => Ok(Err(code.context("curl was killed")?)),
    }
}

/// How many bytes come of those that the source was asked for, and whether they end by a reset.
fn receive(stream: &mut TcpStream, asked: usize) -> Result<(usize, bool)> {
    stream.write_all(format!("{asked}\n").as_bytes())?;
    let (mut buffer, mut count) = (vec![0; 64 * 1024], 0);
    loop {
        match stream.read(&mut buffer) {
            Ok(0) => return Ok((count, false)),
            Ok(got) => count += got,
            Err(error) if error.kind() == ErrorKind::ConnectionReset => return Ok((count, true)),
            Err(error) => return Err(error.into()),
        }
    }
}

fn is_silent(stream: &mut TcpStream) -> Result<()> {
    stream.set_read_timeout(Some(Duration::from_millis(500)))?;
    let read = stream.read(&mut [0; 64]);
    stream.set_read_timeout(Some(Duration::from_secs(20)))?;
    match read {
        Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(()),
        other => anyhow::bail!("{other:?} on a connection that should say nothing"),
    }
}

#[test]
fn curl_and_redis_meet_what_is_aimed_at_them_and_nothing_else() {
    let name = "curl_and_redis_meet_what_is_aimed_at_them_and_nothing_else";
    culvert_lab::test(name, |lab| {
        let mut fixture = Fixture::start(lab, MeshOptions::default())?;
        let other = fixture.add_pod("n1", "elsewhere", "other", "other")?;
        let _redis = start_redis(&fixture)?;
        let url = format!("http://{VIP4}/");

        // A delay, at one port of the service.
        let delay = "  tcp: {delay: {uniform: {min: 300ms, max: 400ms}}}";
        put(&fixture, "slow", &(target("server", port::HTTP) + delay))?;
        for _ in 0..3 {
            let took = curl(&fixture.client, &url)?;
            ensure!(took.is_ok_and(|took| took >= 0.3), "{took:?}");
        }
        ensure!(struck(&fixture)? == 3, "three were delayed");
        client::echo(&fixture.client, VIP4, port::ECHO, "another port")?;
        ensure!(
            redis_ping(&fixture.client)? == "PONG",
            "another service of the pod"
        );
        ensure!(struck(&fixture)? == 3, "and nothing else");
        fixture
            .mesh
            .ztunnel("n2")?
            .wait_for_log("fault=\"delay:demo/slow\"")?;
        lift(&fixture, "slow")?;

        // A blackhole, for one caller.
        let before = struck(&fixture)?;
        let only =
            "  match: {principals: [cluster.local/ns/demo/sa/client]}\n  tcp: {blackhole: {}}";
        put(&fixture, "dark", &(target("cache", REDIS) + only))?;
        ensure!(
            redis_ping(&fixture.client)?.is_empty(),
            "redis answers from a blackhole"
        );
        ensure!(redis_ping(&other)? == "PONG", "another caller");
        ensure!(
            curl(&fixture.client, &url)?.is_ok(),
            "another service of the pod"
        );
        let mut held = client::connect(&fixture.client, CACHE, REDIS)?;
        held.write_all(b"PING\r\n")?;
        is_silent(&mut held)?;
        ensure!(struck(&fixture)? == before + 2, "two went into it");
        let dump = fixture.mesh.ztunnel_connections("n2")?.to_string();
        ensure!(dump.contains("\"fault\":\"blackhole:demo/dark\""), "{dump}");
        lift(&fixture, "dark")?;
        ensure!(client::ended(&mut held)?.is_some(), "what it held is reset");
        ensure!(redis_ping(&fixture.client)? == "PONG", "and it is over");
        Ok(())
    });
}

#[test]
fn resets_come_when_they_were_asked_for_and_as_often() {
    let name = "resets_come_when_they_were_asked_for_and_as_often";
    culvert_lab::test(name, |lab| {
        let mut fixture = Fixture::start(lab, MeshOptions::default())?;
        let url = format!("http://{VIP4}/");

        // A reset, at once for curl and after some bytes for a transfer.
        put(
            &fixture,
            "cut",
            &(target("server", port::HTTP) + "  tcp: {reset: {}}"),
        )?;
        let cut = curl(&fixture.client, &url)?;
        // 52: no answer, 56: the connection was reset.
        ensure!(matches!(cut, Err(52 | 56)), "{cut:?}");
        fixture
            .mesh
            .ztunnel("n2")?
            .wait_for_log("deny_reason=\"fault_injected\" policy=\"demo/cut\"")?;
        lift(&fixture, "cut")?;
        let later = "  tcp: {reset: {afterBytes: 100000}}";
        put(&fixture, "later", &(target("server", port::SOURCE) + later))?;
        let mut stream = client::connect(&fixture.client, VIP4, port::SOURCE)?;
        let (count, reset) = receive(&mut stream, 1_000_000)?;
        ensure!(reset && count <= 100_000, "{count} bytes, reset: {reset}");
        lift(&fixture, "later")?;

        // None of a hundred, and all of them. Two ports of the service lead to one of the pod: only who aims at both
        // strikes what may have been dialled as either.
        let before = struck(&fixture)?;
        let both = format!(
            "  targetRefs:\n  - {{kind: Service, name: server, sectionName: p{}}}\n\
             \x20 - {{kind: Service, name: server, sectionName: p{}}}\n",
            port::ECHO,
            port::MAPPED
        );
        let share =
            |percent: u32| format!("  tcp: {{reset: {{percentage: {{value: {percent}}}}}}}");
        put(&fixture, "none", &format!("{both}{}", share(0)))?;
        put(
            &fixture,
            "one",
            &(target("server", port::ECHO) + &share(100)),
        )?;
        for _ in 0..100 {
            client::echo(&fixture.client, VIP4, port::ECHO, "spared")?;
        }
        ensure!(struck(&fixture)? == before, "some were struck");
        put(&fixture, "all", &format!("{both}{}", share(100)))?;
        for _ in 0..100 {
            client::refused(&fixture.client, VIP4, port::ECHO)?;
        }
        ensure!(struck(&fixture)? == before + 100);
        Ok(())
    });
}

#[test]
fn a_throttle_holds_a_transfer_and_lets_it_go_with_its_policy() {
    let name = "a_throttle_holds_a_transfer_and_lets_it_go_with_its_policy";
    culvert_lab::test(name, |lab| {
        let fixture = Fixture::start(lab, MeshOptions::default())?;
        let rate = "  targetRefs: [{kind: Service, name: server}]\n  tcp: {throttle: {bytesPerSecond: 100000}}";
        put(&fixture, "slow", rate)?;
        let started = Instant::now();
        let mut stream = client::connect(&fixture.client, VIP4, port::SOURCE)?;
        let (count, reset) = receive(&mut stream, 150_000)?;
        ensure!(count == 150_000 && !reset, "{count} bytes, reset: {reset}");
        // All but the burst of a tenth of a second had to wait for it.
        ensure!(started.elapsed() >= Duration::from_millis(1400));

        // Far more than it would let through in this test's time.
        let mut stream = client::connect(&fixture.client, VIP4, port::SOURCE)?;
        stream.write_all(b"100000000\n")?;
        stream.read_exact(&mut [0; 1000])?;
        lift(&fixture, "slow")?;
        let mut rest = Vec::new();
        stream.read_to_end(&mut rest)?;
        ensure!(rest.len() == 100_000_000 - 1000, "{} bytes", rest.len());
        fixture.talks()
    });
}

#[test]
fn every_way_into_a_pod_is_struck_alike_and_no_policy_is_weaker_for_it() {
    let name = "every_way_into_a_pod_is_struck_alike_and_no_policy_is_weaker_for_it";
    culvert_lab::test(name, every_way);
}

fn every_way(lab: &Lab) -> Result<()> {
    let options = MeshOptions {
        same_node: "InProcess".into(),
        ..MeshOptions::default()
    };
    let fixture = Fixture::start(lab, options)?;
    let near = fixture.add_pod("n2", "elsewhere", "near", "near")?;
    let (server, ip) = (&fixture.server, fixture.server.ip());
    let clients = [&fixture.client, &near, &fixture.stranger];
    let selector = "  selector: {matchLabels: {app: server}}\n";
    put(
        &fixture,
        "all",
        &format!("{selector}  tcp: {{reset: {{}}}}"),
    )?;
    for pod in clients {
        client::refused(pod, ip, port::ECHO)?;
    }
    ensure!(struck(&fixture)? == 3);
    client::echo(server, near.ip(), port::ECHO, "nobody there")
        .err()
        .context("no server")?;
    ensure!(
        struck(&fixture)? == 3,
        "another pod of the node is not struck"
    );
    lift(&fixture, "all")?;

    let match_near = "  match: {principals: [cluster.local/ns/elsewhere/sa/near]}\n";
    put(
        &fixture,
        "near",
        &format!("{selector}{match_near}  tcp: {{blackhole: {{}}}}"),
    )?;
    for pod in [&fixture.client, &fixture.stranger] {
        client::echo(pod, ip, port::ECHO, "somebody else")?;
    }
    let mut held = client::connect(&near, ip, port::ECHO)?;
    held.write_all(b"anybody?")?;
    is_silent(&mut held)?;

    // What policy denies is denied, and nothing waits in a blackhole for it.
    fixture.enforce(
        "deny-near",
        "  action: DENY\n  rules:\n  - from:\n    - source: {principals: [cluster.local/ns/elsewhere/sa/near]}",
    )?;
    ensure!(
        client::ended(&mut held)?.is_some(),
        "what it held is denied too"
    );
    let before = struck(&fixture)?;
    client::refused(&near, ip, port::ECHO)?;
    ensure!(struck(&fixture)? == before, "who is denied is not struck");
    fixture.lift("deny-near")?;
    lift(&fixture, "near")?;
    client::echo(&near, ip, port::ECHO, "as before")
}

#[test]
fn a_fault_ends_by_itself_without_a_controller() {
    let name = "a_fault_ends_by_itself_without_a_controller";
    culvert_lab::test(name, |lab| {
        let mut fixture = Fixture::start(lab, MeshOptions::default())?;
        let spec = |start: &str, duration: &str| {
            format!(
                "  targetRefs: [{{kind: Service, name: server}}]\n  tcp: {{blackhole: {{}}}}\n\
                 \x20 startTime: \"{start}\"\n  duration: {duration}"
            )
        };
        let object = format!(
            "apiVersion: culvert.dev/v1alpha1\nkind: FaultPolicy\n\
             metadata: {{name: old, namespace: demo}}\nspec:\n{}\n",
            spec("2026-01-31T12:00:00Z", "10m")
        );
        fixture.mesh.put("old", &object)?;
        wait::until("a condition that says so", wait::PATIENCE, || {
            let status = fixture.mesh.status()?.to_string();
            let said = status.contains("\"Expired\"")
                && status.contains("is over since 2026-01-31T12:10:00Z");
            Ok(said.then_some(()))
        })?;
        client::echo(&fixture.client, VIP4, port::ECHO, "it is over")?;

        let now = fixture
            .client
            .net
            .run(&["date", "-u", "+%Y-%m-%dT%H:%M:%SZ"])?;
        put(&fixture, "brief", &spec(now.trim(), "8s"))?;
        let mut held = client::connect(&fixture.client, VIP4, port::ECHO)?;
        held.write_all(b"anybody?")?;
        fixture.mesh.controller()?.kill()?;
        is_silent(&mut held)?;
        ensure!(
            client::ended(&mut held)?.is_some(),
            "its end lets go of what it held"
        );
        client::echo(&fixture.client, VIP4, port::ECHO, "it is over")?;
        wait_fault(&fixture, "brief", false)
    });
}
