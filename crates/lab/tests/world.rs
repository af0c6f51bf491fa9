//! The laboratory itself: pods reach each other over the link, programs see their pod, code runs where it should.

use anyhow::{Context, Result, ensure};
use culvert_lab::{Family, Lab, leaks, process, topology::LINK, wait};
use std::{
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    time::Duration,
};

fn exchange(lab: &Lab) -> Result<()> {
    let client = lab.pod("n1", "demo", "client", "client")?;
    let server = lab.pod("n2", "demo", "server", "server")?;
    for address in server.ips() {
        let listener = server.net.enter(|| TcpListener::bind((address, 8080)))??;
        ensure!(server.net.listening()? == [8080]);
        let mut near = client
            .net
            .enter(|| TcpStream::connect_timeout(&(address, 8080).into(), Duration::from_secs(5)))?
            .with_context(|| address.to_string())?;
        let (mut far, from) = listener.accept()?;
        ensure!(client.ips().contains(&from.ip()), "{from}");
        near.write_all(b"across")?;
        drop(near);
        let mut got = String::new();
        far.read_to_string(&mut got)?;
        ensure!(got == "across");
    }
    ensure!(server.ip4.is_some() == (lab.family() == Family::Dual));
    Ok(())
}

#[test]
fn pods_of_two_nodes_reach_each_other() {
    culvert_lab::test("pods_of_two_nodes_reach_each_other", exchange);
}

#[test]
fn so_they_do_with_ipv6_alone() {
    culvert_lab::test_with(Family::V6, "so_they_do_with_ipv6_alone", exchange);
}

#[test]
fn programs_see_their_own_pod() {
    culvert_lab::test("programs_see_their_own_pod", |lab| {
        let pod = lab.pod("n1", "demo", "client", "client")?;
        ensure!(
            pod.net
                .run(&["cat", "/etc/resolv.conf"])?
                .starts_with("nameserver 10.11.0.1\nsearch demo.svc")
        );
        ensure!(
            pod.net
                .run(&["ip", "-o", "addr"])?
                .contains("inet 10.11.0.10/24")
        );
        ensure!(
            lab.node("n1")?
                .net
                .run(&["ip", "-o", "link", "show", LINK])?
                .contains("state UP")
        );
        pod.net
            .script("iptables -t nat -A OUTPUT -p tcp -j REDIRECT --to-ports 15001")?;
        ensure!(pod.net.rules()?.contains("--to-ports 15001"));
        ensure!(!lab.node("n1")?.net.rules()?.contains("15001"));
        Ok(())
    });
}

#[test]
fn processes_and_namespaces_come_and_go() {
    culvert_lab::test("processes_and_namespaces_come_and_go", |lab| {
        let before = leaks::network_namespaces()?;
        let pod = lab.pod("n2", "demo", "server", "server")?;
        ensure!(leaks::network_namespaces()? == before + 1);
        let mut process = pod
            .net
            .spawn("sleeper", &["sh", "-c", "echo ready; exec sleep 1000"])?;
        process.wait_for_log("ready")?;
        let inside = process::run("readlink", &[&format!("/proc/{}/ns/net", process.pid())])?;
        ensure!(
            inside == pod.net.run(&["readlink", "/proc/self/ns/net"])?,
            "the process id is the program's own"
        );
        process.kill()?;
        ensure!(!process.is_running());
        lab.remove_pod(&pod)?;
        wait::until("the namespace to go", wait::PATIENCE, || {
            Ok((leaks::network_namespaces()? == before).then_some(()))
        })
    });
}

#[test]
fn a_body_that_fails_fails_its_test() {
    let failed = std::panic::catch_unwind(|| {
        culvert_lab::test("a_body_that_fails_fails_its_test", |_| {
            anyhow::bail!("on purpose")
        });
    });
    let panic = failed.expect_err("the body fails");
    let message = panic.downcast_ref::<String>().unwrap();
    if culvert_lab::world::inside() {
        panic!("{message}");
    }
    assert!(
        message.contains("the test failed in its private world"),
        "{message}"
    );
}

#[test]
fn a_name_that_is_no_test_fails() {
    let failed = std::panic::catch_unwind(|| culvert_lab::test("no_such_test", |_| Ok(())));
    let panic = failed.expect_err("a body that never ran");
    assert!(
        panic
            .downcast_ref::<String>()
            .unwrap()
            .contains("knows no test of the name")
    );
}
