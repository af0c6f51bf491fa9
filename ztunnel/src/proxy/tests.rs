//! The whole way of a connection, over two nodes of this process and two pods in namespaces of their own. The rules are
//! the least that leads traffic to the listeners; the agent's own are tested where they are made.

use std::io::{self, Read as _, Write as _};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsFd as _, AsRawFd as _};
use std::sync::Arc;
use std::time::Duration;

use culvert_identity::ca::Root;
use culvert_proto::ads;
use culvert_proto::istio::security::{Action, Authorization, Clause, Match, Rule, Scope};
use culvert_runtime::netns::Netns;
use culvert_xds::{Handler as _, Update};
use culvert_zds::WorkloadInfo;

use crate::asking::Asking;
use crate::inpod::Pods;
use crate::node::Node;
use crate::proxy::revoke;
use crate::testing::{
    Mesh, authority, fresh_netns, in_world, node, node_asking, script, service, uid, workload,
};

const CLIENT: &str = "10.0.0.1";
const SERVER: &str = "10.0.0.2";
const MARK: u32 = 0x1234_5678;
const PATIENCE: Duration = Duration::from_secs(10);

/// Two pods, their ztunnels, and an application in the second that answers with who it thinks asks.
struct World {
    mesh: Mesh,
    client: Netns,
    server: Netns,
    pods: [Arc<Pods>; 2],
    root: Root,
}

impl World {
    fn new() -> Self {
        let (client, server) = (fresh_netns(), fresh_netns());
        let peer = format!(
            "/proc/{}/fd/{}",
            std::process::id(),
            server.as_fd().as_raw_fd()
        );
        script(
            &client,
            &format!("ip link add eth0 type veth peer name eth0 netns {peer}"),
        );
        configure(&client, CLIENT);
        configure(&server, SERVER);
        let web = "demo/web.demo.svc.cluster.local";
        let mesh = Mesh::new([
            workload("demo", "client").ip(CLIENT).into(),
            workload("demo", "server").ip(SERVER).of(web).into(),
            service("demo", "web")
                .vip("10.96.0.1")
                .port(80, 8080)
                .into(),
        ]);
        sync(&mesh);
        let root = authority();
        let pods = [
            join(&mesh, &root, &client, "client", CLIENT),
            join(&mesh, &root, &server, "server", SERVER),
        ];
        serve(&server);
        Self {
            mesh,
            client,
            server,
            pods,
            root,
        }
    }

    /// A connection of the client's application.
    fn dial(&self, addr: &str) -> io::Result<TcpStream> {
        dial(&self.client, addr)
    }

    fn deny_client(&self) {
        let policy = Authorization {
            namespace: "demo".into(),
            name: "deny".into(),
            scope: Scope::WorkloadSelector.into(),
            action: Action::Deny.into(),
            rules: vec![Rule {
                clauses: vec![Clause {
                    matches: vec![Match {
                        destination_ports: vec![8080],
                        ..Default::default()
                    }],
                }],
            }],
            ..Default::default()
        };
        self.mesh.put_policy(&policy);
        let web = "demo/web.demo.svc.cluster.local";
        self.mesh.put(
            workload("demo", "server")
                .ip(SERVER)
                .of(web)
                .policy("demo/deny")
                .into(),
        );
    }
}

/// Say of the types of which the mesh has nothing that there is nothing.
fn sync(mesh: &Mesh) {
    mesh.put_settings();
    for url in culvert_xds::Store::TYPES {
        mesh.0.clone().apply(url, Update::default());
    }
}

fn configure(netns: &Netns, ip: &str) {
    let rules = format!(
        "ip link set lo up; ip link set eth0 up; ip addr add {ip}/24 dev eth0; ip route add default dev eth0
         ip rule add fwmark 0x111/0xfff lookup 100; ip route add local default dev lo table 100
         iptables-restore <<END
*mangle
-A PREROUTING -i lo -p tcp -m mark --mark {MARK:#x} -m conntrack --ctstate NEW -j CONNMARK --set-xmark 0x111/0xfff
-A PREROUTING -i lo -p udp --dport 53 -m mark --mark 0x111/0xfff -j TPROXY --on-port 15053 --on-ip 127.0.0.1
-A OUTPUT -m mark --mark {MARK:#x} -j RETURN
-A OUTPUT -p tcp -m connmark --mark 0x111/0xfff -j CONNMARK --restore-mark --nfmask 0xfff --ctmask 0xfff
-A OUTPUT ! -o lo -p udp --dport 53 -j MARK --set-xmark 0x111/0xfff
COMMIT
*nat
-A PREROUTING ! -i lo -p tcp ! --dport 15008 -j REDIRECT --to-ports 15006
-A OUTPUT -m mark --mark {MARK:#x} -j RETURN
-A OUTPUT ! -o lo -p tcp -j REDIRECT --to-ports 15001
COMMIT
END"
    );
    script(netns, &rules);
}

fn join(mesh: &Mesh, root: &Root, netns: &Netns, name: &str, ip: &str) -> Arc<Pods> {
    join_on(&node(mesh, root.clone()), mesh, netns, name, ip)
}

fn join_on(node: &Arc<Node>, mesh: &Mesh, netns: &Netns, name: &str, ip: &str) -> Arc<Pods> {
    let pods = Arc::new(Pods::new(node.clone()));
    let info = WorkloadInfo {
        name: name.into(),
        namespace: "demo".into(),
        service_account: name.into(),
    };
    let workload = culvert_zds::Workload {
        uid: uid("demo", name),
        info: Some(info),
        mark: MARK,
        addresses: vec![ip.parse().unwrap()],
    };
    pods.add(
        workload,
        netns.as_fd().as_fd().try_clone_to_owned().unwrap(),
    )
    .unwrap();
    tokio::spawn(revoke::run(mesh.0.clone(), pods.clone()));
    pods
}

/// On 8080: say who asks, then echo until the end.
fn serve(netns: &Netns) {
    let listener = netns
        .run(|| TcpListener::bind("0.0.0.0:8080").unwrap())
        .unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            std::thread::spawn(move || {
                let mut stream = stream.unwrap();
                stream
                    .write_all(format!("{:15}", stream.peer_addr().unwrap().ip()).as_bytes())
                    .ok()?;
                io::copy(&mut stream.try_clone().unwrap(), &mut stream).ok()
            });
        }
    });
}

fn dial(netns: &Netns, addr: &str) -> io::Result<TcpStream> {
    let addr: SocketAddr = addr.parse().unwrap();
    let stream = netns.run(|| TcpStream::connect_timeout(&addr, PATIENCE))??;
    stream.set_read_timeout(Some(PATIENCE))?;
    Ok(stream)
}

/// Who the server thinks asks, after a round trip of some bytes.
fn talk(stream: &mut TcpStream) -> io::Result<IpAddr> {
    let mut seen = [0; 15];
    stream.read_exact(&mut seen)?;
    echo(stream)?;
    Ok(String::from_utf8_lossy(&seen).trim().parse().unwrap())
}

fn echo(stream: &mut TcpStream) -> io::Result<()> {
    stream.write_all(b"ping")?;
    let mut back = [0; 4];
    stream.read_exact(&mut back)?;
    assert_eq!(&back, b"ping");
    Ok(())
}

fn is_reset(result: io::Result<impl std::fmt::Debug>) -> bool {
    result.is_err_and(|error| error.kind() == io::ErrorKind::ConnectionReset)
}

/// Run blocking code beside the runtime that serves it.
async fn beside<T: Send + 'static>(f: impl FnOnce() -> T + Send + 'static) -> T {
    tokio::task::spawn_blocking(f).await.unwrap()
}

#[test]
fn bytes_arrive_from_the_clients_address_over_hbone_by_address_service_and_to_oneself() {
    in_world(
        "proxy::tests::bytes_arrive_from_the_clients_address_over_hbone_by_address_service_and_to_oneself",
        async || {
            let world = World::new();
            beside(move || {
                let client: IpAddr = CLIENT.parse().unwrap();
                for addr in [format!("{SERVER}:8080"), "10.96.0.1:80".to_owned()] {
                    let mut stream = world.dial(&addr).unwrap();
                    assert_eq!(talk(&mut stream).unwrap(), client, "{addr}");
                    let views = serde_json::to_string(&world.pods[1].list()[0].connections.views())
                        .unwrap();
                    assert!(
                        views.contains("spiffe://cluster.local/ns/demo/sa/client"),
                        "{views}"
                    );
                }
                let mut own = dial(&world.server, "10.96.0.1:80").unwrap();
                assert_eq!(
                    talk(&mut own).unwrap(),
                    SERVER.parse::<IpAddr>().unwrap(),
                    "a pod that calls itself"
                );
            })
            .await;
        },
    );
}

/// A controller that says of each name that is asked for, but one, that there is nothing of it besides what is known.
fn answer(mesh: &Mesh, demand: culvert_xds::Demand, but: &'static str) {
    let types = culvert_xds::Store::TYPES;
    let mut machine =
        culvert_xds::protocol::Machine::new(ads::Node::default(), types).on_demand(demand);
    let mut store = mesh.0.clone();
    std::thread::spawn(move || {
        loop {
            std::thread::sleep(Duration::from_millis(20));
            let Some(request) = machine.ask() else {
                continue;
            };
            let names = request.resource_names_subscribe.into_iter();
            let response = ads::DeltaDiscoveryResponse {
                type_url: request.type_url,
                nonce: "1".into(),
                removed_resources: names.filter(|name| name != but).collect(),
                ..Default::default()
            };
            let message = prost::Message::encode_to_vec(&response).into();
            machine.receive(message, &mut store).unwrap();
        }
    });
}

#[test]
fn what_is_asked_for_is_waited_for_and_nothing_is_concluded_before() {
    in_world(
        "proxy::tests::what_is_asked_for_is_waited_for_and_nothing_is_concluded_before",
        async || {
            let world = World::new();
            let asking = Asking::default();
            let demand = asking.demand();
            let asks = node_asking(&world.mesh, world.root.clone(), asking);
            // In the place of the client's first ztunnel.
            world.pods[0].remove(&uid("demo", "client"));
            tokio::time::sleep(Duration::from_millis(100)).await;
            let _pods = join_on(&asks, &world.mesh, &world.client, "client", CLIENT);
            let mesh = Mesh(world.mesh.0.clone());
            beside(move || {
                let reset = |addr: &str| {
                    let stream = world.dial(addr);
                    is_reset(stream.and_then(|mut stream| stream.read(&mut [0; 1])))
                };
                // Nobody answers: not even what is known counts, and what lies outside is not taken for outside.
                assert!(reset("10.96.0.1:80") && reset("192.0.2.1:80"));
                assert!(!demand.is_answered("/10.96.0.1"));
                answer(&mesh, demand.clone(), "/192.0.2.2");
                let mut stream = world.dial("10.96.0.1:80").unwrap();
                talk(&mut stream).unwrap();
                assert!(demand.is_answered("/10.96.0.1"));
                assert!(
                    reset("10.9.9.9:80"),
                    "nobody's, inside the cluster's ranges"
                );
                assert!(demand.is_answered("/10.9.9.9"));
                assert!(reset("192.0.2.2:80"), "not answered");
            })
            .await;
        },
    );
}

#[test]
fn a_policy_resets_the_open_connection_and_refuses_the_next() {
    in_world(
        "proxy::tests::a_policy_resets_the_open_connection_and_refuses_the_next",
        async || {
            let world = World::new();
            beside(move || {
                let mut open = world.dial("10.96.0.1:80").unwrap();
                talk(&mut open).unwrap();
                world.deny_client();
                assert!(
                    is_reset(open.read(&mut [0; 1])),
                    "the open connection is reset"
                );
                let refused = world.dial("10.96.0.1:80");
                let read = refused.and_then(|mut stream| stream.read(&mut [0; 1]));
                assert!(is_reset(read), "a new one is reset");
            })
            .await;
        },
    );
}

#[test]
fn the_meshs_ports_unknown_addresses_and_services_without_endpoints_are_reset() {
    in_world(
        "proxy::tests::the_meshs_ports_unknown_addresses_and_services_without_endpoints_are_reset",
        async || {
            let world = World::new();
            world
                .mesh
                .put(service("demo", "none").vip("10.96.0.2").port(80, 80).into());
            beside(move || {
                let refused = [
                    "10.0.0.2:15001",
                    "10.0.0.2:15006",
                    "10.0.0.2:15008",
                    "10.0.0.2:15053",
                    "10.9.9.9:80",
                    "10.96.0.2:80",
                    "10.96.0.1:81",
                    "127.0.0.1:15001",
                    "127.0.0.1:15006",
                    "10.0.0.1:15001",
                    "10.0.0.1:15006",
                ];
                for addr in refused {
                    let stream = world.dial(addr);
                    assert!(
                        is_reset(stream.and_then(|mut stream| stream.read(&mut [0; 1]))),
                        "{addr}"
                    );
                }
            })
            .await;
        },
    );
}

#[test]
fn plain_text_reaches_the_application_from_its_own_address_and_strict_resets_it() {
    in_world(
        "proxy::tests::plain_text_reaches_the_application_from_its_own_address_and_strict_resets_it",
        async || {
            let world = World::new();
            // A client outside the mesh: as the pod, but its packets pass the rules.
            script(
                &world.client,
                "iptables -t nat -I OUTPUT -p tcp --dport 8080 -j ACCEPT",
            );
            beside(move || {
                let mut plain = world.dial(&format!("{SERVER}:8080")).unwrap();
                assert_eq!(talk(&mut plain).unwrap(), CLIENT.parse::<IpAddr>().unwrap());
                let mut direct = world.dial(&format!("{SERVER}:8080")).unwrap();
                talk(&mut direct).unwrap();
                world.deny_client();
                assert!(is_reset(plain.read(&mut [0; 1])));
                assert!(is_reset(direct.read(&mut [0; 1])));
            })
            .await;
        },
    );
}

#[test]
fn dns_answers_for_the_mesh_and_hands_on_the_rest_as_the_resolver_that_was_asked() {
    in_world(
        "proxy::tests::dns_answers_for_the_mesh_and_hands_on_the_rest_as_the_resolver_that_was_asked",
        async || {
            let world = World::new();
            // A resolver that sends back what it gets, after the number reversed twice: the question itself.
            let resolver = world
                .server
                .run(|| UdpSocket::bind("0.0.0.0:53").unwrap())
                .unwrap();
            std::thread::spawn(move || {
                let mut buffer = [0; 512];
                while let Ok((n, from)) = resolver.recv_from(&mut buffer) {
                    resolver.send_to(&buffer[..n], from).unwrap();
                }
            });
            beside(move || {
                let ask = |name: &str| {
                    let socket = world
                        .client
                        .run(|| UdpSocket::bind("0.0.0.0:0").unwrap())
                        .unwrap();
                    socket.set_read_timeout(Some(PATIENCE)).unwrap();
                    socket.connect(format!("{SERVER}:53")).unwrap();
                    let mut question = vec![0xab, 0xcd, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
                    for label in name.split('.') {
                        question.push(u8::try_from(label.len()).unwrap());
                        question.extend(label.as_bytes());
                    }
                    question.extend([0, 0, 1, 0, 1]);
                    socket.send(&question).unwrap();
                    let mut answer = vec![0; 512];
                    // A connected socket takes what comes from the resolver's address only.
                    let n = socket.recv(&mut answer).unwrap();
                    answer.truncate(n);
                    (question, answer)
                };
                let (_, answer) = ask("web.demo.svc.cluster.local");
                assert!(answer.ends_with(&[10, 96, 0, 1]), "{answer:?}");
                let (question, answer) = ask("example.com");
                assert_eq!(question, answer, "what the resolver said, as it was");
            })
            .await;
        },
    );
}

#[test]
fn an_endpoint_that_cannot_be_reached_is_passed_over_and_an_impostor_refused() {
    let name =
        "proxy::tests::an_endpoint_that_cannot_be_reached_is_passed_over_and_an_impostor_refused";
    in_world(name, async || {
        let world = World::new();
        // Nobody takes tunnels at .3; at .4 the server does, whose identity is not that of the workload there.
        let rule = "iptables -A INPUT -d 10.0.0.3 -p tcp -j REJECT --reject-with tcp-reset";
        script(
            &world.server,
            &format!("ip addr add 10.0.0.3/24 dev eth0; ip addr add 10.0.0.4/24 dev eth0; {rule}"),
        );
        let web = "demo/web.demo.svc.cluster.local";
        world
            .mesh
            .put(workload("demo", "closed").ip("10.0.0.3").of(web).into());
        world
            .mesh
            .put(workload("demo", "impostor").ip("10.0.0.4").into());
        beside(move || {
            for _ in 0..10 {
                talk(&mut world.dial("10.96.0.1:80").unwrap()).unwrap();
            }
            for addr in ["10.0.0.3:8080", "10.0.0.4:8080"] {
                let read = world
                    .dial(addr)
                    .and_then(|mut stream| stream.read(&mut [0; 1]));
                assert!(is_reset(read), "{addr}");
            }
        })
        .await;
    });
}
