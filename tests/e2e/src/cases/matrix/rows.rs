//! The rows of the matrix: each a script in a client, and what its output must hold at least.
//!
//! `{web}` and `{web6}` stand for the addresses of the pod `web`, `{node1}` for a node's.

/// Where a script runs.
#[derive(Clone, Copy, Debug)]
pub(super) enum From {
    /// In this pod of the matrix's namespace.
    Pod(&'static str),
    /// In the switch's network namespace, outside of the cluster.
    Outside,
}

/// How its traffic has to cross the link when the mesh is on; without the mesh it is always in the clear.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Via {
    /// HBONE between the client and this pod.
    Hbone(&'static str),
    /// In the clear to this pod, because an exclusion says so.
    Clear(&'static str, &'static str),
    /// It does not cross the link, or one end is no pod of the mesh.
    NotJudged,
}

/// One row.
#[derive(Clone, Copy, Debug)]
pub(super) struct Row {
    pub(super) name: &'static str,
    pub(super) from: From,
    pub(super) script: &'static str,
    /// What a right answer holds, so that two equal failures are no success.
    pub(super) wants: &'static [&'static str],
    pub(super) via: Via,
}

const CLIENT: From = From::Pod("client");

const fn row(
    name: &'static str,
    script: &'static str,
    wants: &'static [&'static str],
    via: Via,
) -> Row {
    Row {
        name,
        from: CLIENT,
        script,
        wants,
        via,
    }
}

const fn from(from: From, row: Row) -> Row {
    Row { from, ..row }
}

/// Every script begins with this.
pub(super) const PRELUDE: &str =
    "set -e -o pipefail; get() { curl -sS -m 15 \"$@\"; }; seen() { grep -E '^(name|peer):'; }\n";

use Via::{Clear, Hbone, NotJudged};

/// All rows that are one script.
pub(super) const ROWS: &[Row] = &[
    row(
        "http",
        "get -w 'code %{http_code}\\n' http://web/",
        &["nginx of web", "code 200"],
        Hbone("web"),
    ),
    row(
        "http-keepalive",
        "get http://web/ http://web/ http://web.e2e-matrix/ http://web.e2e-matrix.svc.cluster.local/ -w '%{num_connects} '",
        &["nginx of web"],
        Hbone("web"),
    ),
    row(
        "big-bodies",
        "head -c 33554432 /dev/zero | tr '\\0' 'culvert' >/tmp/big; sha256sum </tmp/big; \
         get -T /tmp/big -o /dev/null -w 'put %{http_code}\\n' http://web/store/big | sed 's/201/204/'; get http://web/store/big | sha256sum; \
         python3 /e2e/tcp.py sink echo 7004; python3 /e2e/tcp.py source echo 7005",
        &["put 20", "sent 33554432 digest equal True", "got 33554432"],
        Hbone("web"),
    ),
    row(
        "redis",
        "redis-cli -h redis set k v; redis-cli -h redis get k; redis-cli -h redis -r 3 incr n | wc -l; \
         seq 1 500 | sed 's/^/set key/; s/$/ x/' | redis-cli -h redis --pipe; redis-cli -h redis strlen k; redis-cli -h redis del n",
        &["OK", "errors: 0, replies: 500"],
        Hbone("redis"),
    ),
    row(
        "postgres",
        "export PGCONNECT_TIMEOUT=15; psql -h postgres -U postgres -Atc \"drop table if exists t; create table t (a int, b text); \
         insert into t select i, md5(i::text) from generate_series(1, 20000) i; select count(*), md5(string_agg(b, '' order by a)) from t; select inet_client_addr()\"",
        &["INSERT 0 20000", "20000|", "{client}"],
        Hbone("postgres"),
    ),
    row(
        "grpc",
        "grpcurl -plaintext -max-time 15 grpc:50051 grpc.health.v1.Health/Check; grpcurl -plaintext -max-time 15 \
         -d '{\"responseSize\": 10}' grpc:50051 grpc.testing.TestService/UnaryCall; grpcurl -plaintext -max-time 15 -d \
         '{\"responseParameters\": [{\"size\": 4}, {\"size\": 5}, {\"size\": 6}]}' grpc:50051 grpc.testing.TestService/StreamingOutputCall",
        &["SERVING", "AAAAAAAAAAAAAA==", "AAAAAAAA"],
        Hbone("grpc"),
    ),
    row(
        "server-first",
        "python3 /e2e/tcp.py server-first echo 7002",
        &["banner 220 echo peer {client} answer ehlo"],
        Hbone("echo"),
    ),
    row(
        "half-close",
        "python3 /e2e/tcp.py half-close echo 7001; python3 /e2e/tcp.py server-half-close echo 7003",
        &["echoed 300000 True then end of stream", "server ended True"],
        Hbone("echo"),
    ),
    row(
        "source-address",
        "get http://echo/ | seen",
        &["name: echo", "peer: {client}"],
        Hbone("echo"),
    ),
    row(
        "headless",
        "for i in $(seq 20); do get http://headless:8080/ | grep name; done | sort -u; python3 /e2e/dns.py udp A headless.e2e-matrix.svc.cluster.local",
        &["name: echo"],
        NotJudged,
    ),
    row(
        "statefulset-by-name",
        "for i in 0 1; do get http://member-$i.members:8080/ | seen; done",
        &["name: member-0", "name: member-1", "peer: {client}"],
        Hbone("member-1"),
    ),
    row(
        "external-name",
        "get http://alias/; get http://alias.e2e-matrix.svc.cluster.local/",
        &["nginx of web"],
        Hbone("web"),
    ),
    row(
        "service-without-selector",
        "get http://by-hand/ | seen",
        &["name: echo", "peer: {client}"],
        Hbone("echo"),
    ),
    row(
        "service-to-outside",
        "get http://by-hand-outside/ | seen",
        &["name: outside"],
        NotJudged,
    ),
    row(
        "session-affinity",
        "for i in $(seq 12); do get http://sticky/ | grep name; done | sort | uniq -c | wc -l",
        &["1"],
        NotJudged,
    ),
    row(
        "internal-traffic-local",
        "for i in $(seq 8); do get http://local/ | grep name; done | sort | uniq -c",
        &["8 name: echo-near"],
        NotJudged,
    ),
    row(
        "traffic-distribution",
        "for i in $(seq 8); do get http://nearest/ | grep name; done | sort | uniq -c",
        &["8 name: echo-near"],
        NotJudged,
    ),
    row(
        "publish-not-ready",
        "get http://unready/ | seen",
        &["name: unready"],
        Hbone("unready"),
    ),
    row(
        "no-endpoints",
        "get http://unready-hidden/ >/dev/null 2>&1 || echo refused",
        &["refused"],
        NotJudged,
    ),
    row(
        "nobody-listens",
        "get http://{web}:81/ >/dev/null 2>&1 || echo refused",
        &["refused"],
        NotJudged,
    ),
    from(
        From::Pod("echo"),
        row(
            "itself-by-service",
            "get http://echo.e2e-matrix/ | grep name; get http://localhost:8080/ | seen",
            &["name: echo", "peer: 127.0.0.1"],
            NotJudged,
        ),
    ),
    row(
        "pod-address",
        "get http://{web}/; get http://{echo}:8080/ | seen",
        &["nginx of web", "peer: {client}"],
        Hbone("web"),
    ),
    row(
        "same-node",
        "get http://{echo-near}:8080/ | seen; get http://echo-near/ | seen",
        &["name: echo-near", "peer: {client}"],
        NotJudged,
    ),
    row(
        "dual-stack",
        "get -6 http://web/; get -g http://[{web6}]/; get -6 http://echo-dual/ | seen; get -g http://[{echo-near6}]:8080/ | seen",
        &["nginx of web", "peer: {client6}", "name: echo-near"],
        Hbone("web"),
    ),
    from(
        From::Outside,
        row(
            "node-port",
            "for n in {node1} {node2}; do get http://$n:31080/ | grep name; done",
            &["name: echo"],
            NotJudged,
        ),
    ),
    from(
        From::Outside,
        row(
            "load-balancer",
            "get http://192.0.2.10/ | grep name",
            &["name: echo"],
            NotJudged,
        ),
    ),
    row(
        "api-server",
        "d=/var/run/secrets/kubernetes.io/serviceaccount; get --cacert $d/ca.crt -H \"authorization: Bearer $(cat $d/token)\" \
         -o /dev/null -w '%{http_code}\\n' https://kubernetes.default.svc/version; get --cacert $d/ca.crt \
         -H \"authorization: Bearer $(cat $d/token)\" https://kubernetes.default.svc/api/v1/namespaces/e2e-matrix/pods | grep reason",
        &["200", "Forbidden"],
        NotJudged,
    ),
    row(
        "dns",
        "for p in udp tcp; do python3 /e2e/dns.py $p A web.e2e-matrix.svc.cluster.local kubernetes.default.svc.cluster.local \
         kube-dns.kube-system.svc.cluster.local nobody.e2e-matrix.svc.cluster.local member-0.members.e2e-matrix.svc.cluster.local alias.e2e-matrix.svc.cluster.local; \
         python3 /e2e/dns.py $p AAAA web.e2e-matrix.svc.cluster.local kubernetes.default.svc.cluster.local; done; \
         python3 -c \"import socket; print(sorted({a[4][0] for a in socket.getaddrinfo('web', 80)}))\"",
        &[
            "nobody.e2e-matrix.svc.cluster.local code 3",
            "kubernetes.default.svc.cluster.local code 0 10.96.0.1",
            "tcp web",
        ],
        NotJudged,
    ),
    row(
        "outside",
        "get http://172.30.0.254:18080/ | grep name; get -g http://[fd00:172:30::fe]:18080/ | grep name",
        &["name: outside"],
        NotJudged,
    ),
    row(
        "excluded-inbound-port",
        "get http://excluded/ | seen",
        &["name: excluded", "peer: {client}"],
        Hbone("excluded"),
    ),
    from(
        From::Pod("excluding-port"),
        row(
            "excluded-outbound-port",
            "python3 /e2e/tcp.py half-close echo 7001",
            &["echoed 300000 True"],
            Clear("echo", "annotation exclude-outbound-ports"),
        ),
    ),
    from(
        From::Pod("excluding-cidr"),
        row(
            "excluded-outbound-cidr",
            "get http://{web}/",
            &["nginx of web"],
            Clear("web", "annotation exclude-outbound-cidrs"),
        ),
    ),
    from(
        From::Pod("host-client"),
        row(
            "host-network-client",
            "get http://web/; get http://{echo}:8080/ | grep name",
            &["nginx of web", "name: echo"],
            NotJudged,
        ),
    ),
    row(
        "host-network-server",
        "get http://{host-server}:18090/ | grep name",
        &["name: host-server"],
        NotJudged,
    ),
];
