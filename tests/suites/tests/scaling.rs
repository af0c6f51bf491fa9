//! Several instances of a waypoint: who comes later gets its share at once, tunnels are left when they are old, and no
//! request notices.

use anyhow::{Context, Result, ensure};
use culvert_lab::{Lab, MeshOptions, Pod, http, objects, wait};
use culvert_suites::{Fixture, client, port};
use std::{
    collections::{BTreeMap, BTreeSet},
    io::{BufRead, BufReader, Read, Write},
    net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream},
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    time::Duration,
};

/// The address of the service `web`, which is behind the waypoint.
const WEB: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 96, 0, 20));
const GATEWAY: (&str, &str) = ("gateway.networking.k8s.io/gateway-name", "waypoint");
const NAME: &str = "demo/waypoint";

/// A waypoint as the controller would deploy it: a Gateway whose status says that it is programmed, a Service of its name,
/// and pods.
const WAYPOINT: &str = r#"apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata:
  name: waypoint
  namespace: demo
  annotations: {culvert.dev/programmed: "true"}
spec:
  gatewayClassName: culvert-waypoint
  listeners: [{name: mesh, port: 15008, protocol: HBONE}]
---
apiVersion: v1
kind: Service
metadata:
  name: waypoint
  namespace: demo
  labels: {gateway.networking.k8s.io/gateway-name: waypoint}
spec:
  selector: {gateway.networking.k8s.io/gateway-name: waypoint}
  ports: [{name: hbone, port: 15008, targetPort: 15008}]
"#;

/// Instances of the waypoint in front of the server.
struct Scaled<'lab> {
    fixture: Fixture<'lab>,
    instances: Vec<Pod>,
}

impl<'lab> Scaled<'lab> {
    fn start(lab: &'lab Lab, options: MeshOptions) -> Result<Self> {
        let fixture = Fixture::start(lab, options)?;
        fixture.mesh.put("waypoint", WAYPOINT)?;
        let ports = [port::HTTP, port::ECHO].map(objects::Port::same);
        let web = objects::service(
            "demo",
            "web",
            "server",
            &[WEB],
            &ports,
            &[("culvert.dev/use-waypoint", "waypoint")],
        );
        fixture.mesh.put("web", &web)?;
        let mut scaled = Self {
            fixture,
            instances: Vec::new(),
        };
        scaled.add()?;
        scaled.add()?;
        let programmed = |dump: &serde_json::Value| {
            let services = dump["services"].as_array().into_iter().flatten();
            services
                .filter(|service| service["name"] == "web")
                .any(|service| !service["waypoint"].is_null())
        };
        scaled
            .fixture
            .mesh
            .wait_ztunnel_state("n1", "the waypoint is used", programmed)?;
        Ok(scaled)
    }

    /// One instance more, known to the client's ztunnel once it is ready.
    fn add(&mut self) -> Result<()> {
        let fixture = &mut self.fixture;
        let name = format!("w{}", self.instances.len() + 1);
        let pod = fixture.lab.pod("n2", "demo", &name, "waypoint")?;
        fixture.mesh.start_waypoint_instance(&pod, NAME)?;
        let labels = [GATEWAY, ("culvert.dev/dataplane-mode", "none")];
        fixture.mesh.put_pod(&pod, &labels, &[])?;
        fixture.wait_protocol("n1", &pod, "HBONE")?;
        self.instances.push(pod);
        Ok(())
    }

    /// Streams that the client's ztunnel has open to each instance.
    fn streams(&self) -> Result<BTreeMap<IpAddr, usize>> {
        let shown = self.fixture.mesh.ztunnel_connections("n1")?;
        let mut count: BTreeMap<_, _> = self.instances.iter().map(|pod| (pod.ip(), 0)).collect();
        for connection in shown.as_array().context("connections")? {
            let hbone: SocketAddr = connection["hbone"].as_str().context("hbone")?.parse()?;
            *count.get_mut(&hbone.ip()).context("an instance")? += 1;
        }
        Ok(count)
    }

    /// The tunnels that an instance has taken: addresses and ports of its peers.
    fn tunnels(&self, pod: &Pod) -> Result<BTreeSet<String>> {
        let filter = ["state", "established", "sport", "=", ":15008"];
        let table = pod.net.run(&[&["ss", "-Htn"], &filter[..]].concat())?;
        let peers = table
            .lines()
            .filter_map(|line| line.split_whitespace().last());
        Ok(peers.map(str::to_owned).collect())
    }

    /// What the instances count under this name and with this label, all together.
    fn counted(&self, metric: &str, label: &str) -> Result<f64> {
        let mut sum = 0.0;
        for pod in &self.instances {
            let address = SocketAddr::new(Ipv4Addr::LOCALHOST.into(), 15020);
            let text = http::tcp(&pod.net, address, "GET", "/metrics")?.ok()?;
            let lines = text
                .lines()
                .filter(|line| line.starts_with(metric) && line.contains(label));
            for line in lines {
                let value = line.rsplit(' ').next().context("a value")?;
                sum += value.parse::<f64>()?;
            }
        }
        Ok(sum)
    }
}

/// One request on a connection that stays open.
fn request(stream: &mut BufReader<TcpStream>, path: &str) -> Result<()> {
    write!(
        stream.get_mut(),
        "GET {path} HTTP/1.1\r\nhost: web.demo\r\n\r\n"
    )?;
    let mut length = None;
    let mut status = String::new();
    stream.read_line(&mut status)?;
    ensure!(status.starts_with("HTTP/1.1 200"), "{status:?}");
    loop {
        let mut line = String::new();
        ensure!(stream.read_line(&mut line)? > 0, "the head has no end");
        let line = line.trim_end().to_ascii_lowercase();
        if line.is_empty() {
            break;
        }
        if let Some(value) = line.strip_prefix("content-length:") {
            length = Some(value.trim().parse::<usize>()?);
        }
    }
    let mut body = vec![0; length.context("content-length")?];
    stream.read_exact(&mut body)?;
    let body = String::from_utf8(body)?;
    ensure!(
        body.contains(&format!("> GET {path} ")),
        "asked for {path}: {body}"
    );
    Ok(())
}

/// A connection to the service.
fn connect(from: &Pod) -> Result<BufReader<TcpStream>> {
    let stream = client::connect(from, WEB, port::HTTP)?;
    Ok(BufReader::new(stream))
}

#[test]
fn who_comes_later_gets_its_share_at_once() {
    culvert_lab::test("who_comes_later_gets_its_share_at_once", |lab| {
        let mut scaled = Scaled::start(lab, MeshOptions::default())?;
        let mut open = Vec::new();
        for index in 0..60 {
            let mut stream = connect(&scaled.fixture.client)?;
            request(&mut stream, &format!("/{index}"))?;
            open.push(stream);
        }
        let before = scaled.streams()?;
        ensure!(
            before.values().all(|count| (20..=40).contains(count)),
            "{before:?}"
        );
        scaled.add()?;
        // With 90 more there are 50 each; nobody may have stood aside.
        for index in 60..150 {
            let mut stream = connect(&scaled.fixture.client)?;
            request(&mut stream, &format!("/{index}"))?;
            open.push(stream);
        }
        let after = scaled.streams()?;
        ensure!(
            after.values().all(|count| (42..=58).contains(count)),
            "{after:?}"
        );
        let stayed = before
            .iter()
            .all(|(ip, count)| after.get(ip) >= Some(count));
        ensure!(
            stayed,
            "what was open stays where it was: {before:?}, {after:?}"
        );
        // Of those that come and go, too, it gets a third. Six standard deviations of 300 are 49.
        let newest = scaled.instances.last().context("an instance")?.ip();
        drop(open);
        wait::until("the old connections are gone", wait::PATIENCE, || {
            let none = scaled.streams()?.values().all(|count| *count == 0);
            Ok(none.then_some(()))
        })?;
        let mut taken = 0;
        for index in 0..300 {
            let mut stream = connect(&scaled.fixture.client)?;
            request(&mut stream, &format!("/{index}"))?;
            taken += usize::from(scaled.streams()?[&newest] > 0);
            drop(stream);
            wait::until("it is gone", wait::PATIENCE, || {
                let none = scaled.streams()?.values().all(|count| *count == 0);
                Ok(none.then_some(()))
            })?;
        }
        ensure!((51..=149).contains(&taken), "{taken} of 300");
        Ok(())
    });
}

#[test]
fn tunnels_rotate_and_no_request_is_lost_or_repeated() {
    culvert_lab::test("tunnels_rotate_and_no_request_is_lost_or_repeated", |lab| {
        let options = MeshOptions {
            ztunnel_args: vec!["--tunnel-age-seconds".into(), "2".into()],
            waypoint_args: ["--tunnel-age-seconds", "1", "--served-age-seconds", "1"]
                .map(str::to_owned)
                .into(),
            ..MeshOptions::default()
        };
        let scaled = Scaled::start(lab, options)?;
        let mut lasting = connect(&scaled.fixture.client)?;
        request(&mut lasting, "/first")?;
        let first: BTreeSet<_> = tunnels(&scaled)?;
        let (stop, sent) = (AtomicBool::new(false), AtomicUsize::new(1));
        let seen = std::thread::scope(|scope| {
            let workers: Vec<_> = (0..4)
                .map(|worker| {
                    let (from, stop, sent) = (&scaled.fixture.client, &stop, &sent);
                    scope.spawn(move || -> Result<()> {
                        // Half of them keep their connection, half take a new one each time.
                        let mut kept = connect(from)?;
                        let mut index = 0;
                        while !stop.load(Ordering::Relaxed) {
                            if worker % 2 == 0 {
                                kept = connect(from)?;
                            }
                            request(&mut kept, &format!("/{worker}/{index}"))?;
                            sent.fetch_add(1, Ordering::Relaxed);
                            index += 1;
                        }
                        Ok(())
                    })
                })
                .collect();
            let seen = rotations(&scaled, &first);
            stop.store(true, Ordering::Relaxed);
            for worker in workers {
                worker
                    .join()
                    .map_err(|_| anyhow::anyhow!("a worker panicked"))??;
            }
            seen
        })?;
        request(&mut lasting, "/last")?;
        let sent = sent.into_inner() + 1;
        let count = scaled.counted("istio_requests_total", "reporter=\"waypoint\"")?;
        ensure!(
            count as usize == sent,
            "{sent} were sent, {count} were served, over {seen} tunnels"
        );
        let retried = scaled.counted("culvert_waypoint_retries_total", "result=\"sent\"")?;
        ensure!(retried == 0.0, "{retried} were repeated");
        Ok(())
    });
}

/// The client's tunnels to all instances.
fn tunnels(scaled: &Scaled<'_>) -> Result<BTreeSet<String>> {
    let mut all = BTreeSet::new();
    for pod in &scaled.instances {
        all.extend(scaled.tunnels(pod)?);
    }
    Ok(all)
}

/// Waits until the tunnels were others several times; how many there were.
fn rotations(scaled: &Scaled<'_>, first: &BTreeSet<String>) -> Result<usize> {
    let mut seen = first.clone();
    wait::until(
        "many tunnels, one after the other",
        Duration::from_secs(40),
        || {
            seen.extend(tunnels(scaled)?);
            Ok((seen.len() >= first.len() + 12).then_some(seen.len()))
        },
    )
}
