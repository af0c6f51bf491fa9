//! Services outside of the cluster: by address, by a name that a real resolver knows, and through a waypoint that decides.

use anyhow::{Context, Result, ensure};
use culvert_lab::{Lab, MeshOptions, Pod, Process, wait};
use culvert_suites::{Fixture, client, port, start_echo};
use std::{fs, net::IpAddr};

/// An address that no cluster has: the stranger's besides its own.
const OUTSIDE: &str = "192.0.2.10";
/// Where the resolver of the whole laboratory listens: the first node, as its pods see it.
const RESOLVER: &str = "10.11.0.1";

/// A mesh, something outside of it, and a resolver that knows names of both.
struct Stage<'lab> {
    fixture: Fixture<'lab>,
    _outside: Process,
    _resolver: Process,
}

impl<'lab> Stage<'lab> {
    fn set(lab: &'lab Lab) -> Result<Self> {
        let file = lab.dir().join("resolv.conf");
        fs::write(&file, format!("nameserver {RESOLVER}\noptions timeout:1\n"))?;
        let args = vec!["--resolv-conf".to_owned(), file.display().to_string()];
        let options = MeshOptions {
            ztunnel_args: args.clone(),
            waypoint_args: args,
            ..MeshOptions::default()
        };
        let fixture = Fixture::start(lab, options)?;
        let stranger = &fixture.stranger;
        let (one, two) = (lab.node("n1")?, lab.node("n2")?);
        (stranger.net).script(&format!("ip addr add {OUTSIDE}/32 dev eth0"))?;
        let via = stranger.ip();
        one.net
            .script(&format!("ip route add {OUTSIDE}/32 via {via}"))?;
        let via = one.address(lab.family());
        two.net
            .script(&format!("ip route add {OUTSIDE}/32 via {via}"))?;
        let server = fixture.server.ip();
        let address = |name: &str, ip: &str| format!("--address=/{name}/{ip}");
        let argv = [
            "dnsmasq".to_owned(),
            "--keep-in-foreground".into(),
            "--no-resolv".into(),
            "--no-hosts".into(),
            address("named.example", OUTSIDE),
            address("inside.example", &server.to_string()),
            address("example", ""),
            address("cluster.local", ""),
            "--user=root".into(),
            "--pid-file=".into(),
        ];
        let mut resolver = one.net.spawn("dnsmasq", &argv)?;
        one.net.wait_for_server(&mut resolver, 53)?;
        Ok(Self {
            _outside: start_echo(stranger, "outside")?,
            _resolver: resolver,
            fixture,
        })
    }

    /// Puts an entry of `demo` and waits until the client's name for it leads to an address of the mesh's.
    fn enter(&self, host: &str, labels: &str, spec: &str) -> Result<IpAddr> {
        let name = host.split('.').next().unwrap_or_default();
        let yaml = format!(
            "apiVersion: culvert.dev/v1alpha1\nkind: ServiceEntry\n\
             metadata: {{name: {name}, namespace: demo, labels: {{{labels}}}}}\nspec:\n  hosts: [{host}]\n\
             \x20 ports:\n  - {{number: 80, name: http}}\n  - {{number: 9000, name: tcp, protocol: TCP, targetPort: {}}}\n{spec}\n",
            port::ECHO
        );
        self.fixture.mesh.put(&format!("entry-{name}"), &yaml)?;
        let what = format!("an address of the mesh's for {host}");
        wait::until(what, wait::PATIENCE, || {
            let found = resolve(&self.fixture.client, host)?;
            Ok(found.filter(|ip| ip.to_string().starts_with("240.240.")))
        })
    }
}

fn resolve(pod: &Pod, host: &str) -> Result<Option<IpAddr>> {
    let output = pod.net.exec(&["getent", "ahostsv4", &format!("{host}.")])?;
    let first = output.stdout.split_whitespace().next();
    Ok(first.map(str::parse).transpose()?)
}

/// The status of a request and its body; 0 if nothing answers.
fn get(pod: &Pod, url: &str) -> Result<(u16, String)> {
    let argv = ["curl", "-sS", "-m", "15", "-w", "\n%{http_code}", url];
    let output = pod.net.exec(&argv)?;
    let (body, status) = output.stdout.rsplit_once('\n').context("no status")?;
    Ok((status.parse()?, body.to_owned()))
}

fn answers(pod: &Pod, url: &str) -> Result<()> {
    let (status, body) = get(pod, url)?;
    ensure!(
        status == 200 && body.contains("outside"),
        "{url}: {status} {body}"
    );
    Ok(())
}

#[test]
fn by_address_and_known_to_its_own_namespace_alone() {
    culvert_lab::test("by_address_and_known_to_its_own_namespace_alone", |lab| {
        let stage = Stage::set(lab)?;
        let other = stage.fixture.add_pod("n1", "elsewhere", "other", "other")?;
        let spec = format!("  resolution: STATIC\n  endpoints: [{{address: {OUTSIDE}}}]");
        let vip = stage.enter("fixed.example", "", &spec)?;
        let own = &stage.fixture.client;
        answers(own, "http://fixed.example/")?;
        client::echo(own, vip, 9000, "by its target port")?;
        client::refused(own, vip, 9999)?;
        // Others neither hear the name nor get anywhere by the address.
        ensure!(resolve(&other, "fixed.example")?.is_none());
        let argv = ["curl", "-sS", "-m", "3", &format!("http://{vip}/")];
        ensure!(!other.net.exec(&argv)?.status.success());
        // And the real address is what it was, for everybody.
        answers(&other, &format!("http://{OUTSIDE}/"))?;
        answers(own, &format!("http://{OUTSIDE}/"))
    });
}

#[test]
fn by_name_and_never_into_the_cluster() {
    culvert_lab::test("by_name_and_never_into_the_cluster", |lab| {
        let stage = Stage::set(lab)?;
        let own = &stage.fixture.client;
        let vip = stage.enter("named.example", "", "  resolution: DNS")?;
        answers(own, "http://named.example/")?;
        client::echo(own, vip, 9000, "found by its name")?;
        for host in ["inside.example", "gone.example"] {
            let vip = stage.enter(host, "", "  resolution: DNS")?;
            client::refused(own, vip, 9000)?;
        }
        // The name that leads inside leads there for whoever asks for that.
        client::echo(own, stage.fixture.server.ip(), port::ECHO, "in the mesh")
    });
}

#[test]
fn a_waypoint_decides_who_may_and_routes_it() {
    culvert_lab::test("a_waypoint_decides_who_may_and_routes_it", |lab| {
        let mut stage = Stage::set(lab)?;
        let other = stage.fixture.add_pod("n1", "demo", "other", "other")?;
        let gate = lab.pod("n2", "demo", "gate", "gate")?;
        let label = "culvert.dev/use-waypoint: gate";
        let vip = stage.enter("named.example", label, "  resolution: DNS")?;
        // Nobody decides yet, so nobody may.
        client::refused(&stage.fixture.client, vip, 9000)?;
        stage.fixture.mesh.start_waypoint(&gate)?;
        let url = "http://named.example/v2";
        wait::until("the waypoint to serve the entry", wait::PATIENCE, || {
            answers(&stage.fixture.client, url).map(Some)
        })?;
        answers(&other, url)?;
        let target = "{group: culvert.dev, kind: ServiceEntry, name: named}";
        let policy = format!(
            "apiVersion: culvert.dev/v1alpha1\nkind: AuthorizationPolicy\nmetadata: {{name: named, namespace: demo}}\n\
             spec:\n  targetRefs: [{target}]\n  action: ALLOW\n  rules:\n  - from:\n    - source: {{principals: [cluster.local/ns/demo/sa/client]}}\n"
        );
        let route = format!(
            "apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {{name: named, namespace: demo}}\n\
             spec:\n  parentRefs: [{target}]\n  rules:\n  - matches: [{{path: {{type: PathPrefix, value: /v2}}}}]\n\
             \x20   backendRefs: [{{group: culvert.dev, kind: ServiceEntry, name: named, port: 80}}]\n"
        );
        stage.fixture.mesh.put("policy-named", &policy)?;
        stage.fixture.mesh.put("route-named", &route)?;
        wait::until("policy and route to be in force", wait::PATIENCE, || {
            let unrouted = get(&stage.fixture.client, "http://named.example/")?.0;
            let denied = get(&other, url)?.0;
            Ok((unrouted == 404 && denied == 403).then_some(()))
        })?;
        answers(&stage.fixture.client, url)?;
        // What is no HTTP is decided on by the same policy.
        client::echo(&stage.fixture.client, vip, 9000, "by the waypoint")?;
        client::refused(&other, vip, 9000)?;
        // No instance is left, and nothing goes past it.
        stage.fixture.mesh.waypoint("demo/gate")?.kill()?;
        client::refused(&stage.fixture.client, vip, 9000)?;
        Ok(())
    });
}
