package main

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
)

// writeImage makes an image of one static program, as a tar that `ctr images import` takes (an OCI layout).
func writeImage(program, ref, to string) error {
	text, err := os.ReadFile(program)
	if err != nil {
		return err
	}
	name := "/" + filepath.Base(program)
	layer, err := tarOf([]entry{{name[1:], text, 0o755}, {"etc/passwd", []byte("nobody:x:65534:65534::/:/\n"), 0o644}})
	if err != nil {
		return err
	}
	config, err := json.Marshal(map[string]any{
		"architecture": runtime.GOARCH, "os": "linux",
		"config": map[string]any{"Entrypoint": []string{name}},
		"rootfs": map[string]any{"type": "layers", "diff_ids": []string{digest(layer)}},
	})
	if err != nil {
		return err
	}
	manifest, err := json.Marshal(map[string]any{
		"schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
		"config": descriptor("application/vnd.oci.image.config.v1+json", config),
		"layers": []any{descriptor("application/vnd.oci.image.layer.v1.tar", layer)},
	})
	if err != nil {
		return err
	}
	top := descriptor("application/vnd.oci.image.manifest.v1+json", manifest)
	top["annotations"] = map[string]string{"io.containerd.image.name": ref}
	index, err := json.Marshal(map[string]any{"schemaVersion": 2, "manifests": []any{top}})
	if err != nil {
		return err
	}
	blob := func(b []byte) entry { return entry{"blobs/sha256/" + digest(b)[7:], b, 0o644} }
	whole, err := tarOf([]entry{
		{"oci-layout", []byte(`{"imageLayoutVersion":"1.0.0"}`), 0o644},
		{"index.json", index, 0o644}, blob(layer), blob(config), blob(manifest),
	})
	if err != nil {
		return err
	}
	return os.WriteFile(to, whole, 0o644)
}

type entry struct {
	name string
	text []byte
	mode int64
}

func tarOf(entries []entry) ([]byte, error) {
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	for _, e := range entries {
		if err := w.WriteHeader(&tar.Header{Name: e.name, Mode: e.mode, Size: int64(len(e.text))}); err != nil {
			return nil, err
		}
		if _, err := w.Write(e.text); err != nil {
			return nil, err
		}
	}
	err := w.Close()
	return out.Bytes(), err
}

func digest(b []byte) string {
	sum := sha256.Sum256(b)
	return "sha256:" + hex.EncodeToString(sum[:])
}

func descriptor(kind string, b []byte) map[string]any {
	return map[string]any{"mediaType": kind, "digest": digest(b), "size": len(b)}
}

// ownImages makes the images that the cluster itself runs, and gives their files.
func ownImages(p places) ([]string, error) {
	dir := filepath.Join(p.state, "images")
	if err := mkdirs(dir); err != nil {
		return nil, err
	}
	var files []string
	for program, ref := range map[string]string{
		"pause":   "localhost/culvert-test/pause:1",
		"coredns": "localhost/culvert-test/coredns:" + corednsVersion,
	} {
		file := filepath.Join(dir, program+".tar")
		if err := writeImage(filepath.Join(p.bin, program), ref, file); err != nil {
			return nil, err
		}
		files = append(files, file)
	}
	return files, nil
}

// load imports images on every node.
func load(p places, tars []string) error {
	if len(tars) == 0 {
		return errors.New("say: cluster load TAR...")
	}
	o, err := p.options()
	if err != nil {
		return err
	}
	for n := 1; n <= o.Nodes; n++ {
		if err := importOn(p, nodeName(n), tars); err != nil {
			return err
		}
	}
	return nil
}

func importOn(p places, node string, tars []string) error {
	pid := pidOf(p, node)
	if pid == 0 {
		return fmt.Errorf("%s does not run", node)
	}
	for _, t := range tars {
		file, err := os.Open(t)
		if err != nil {
			return err
		}
		c := exec.Command("nsenter", "--target", strconv.Itoa(pid), "--mount", "--net",
			"ctr", "--namespace", "k8s.io", "images", "import", "--digests=false", "-")
		c.Stdin = file
		out, err := c.CombinedOutput()
		file.Close()
		if err != nil {
			return fmt.Errorf("importing %s on %s: %s: %w", t, node, bytes.TrimSpace(out), err)
		}
		os.Stdout.Write(append([]byte(node+": "), out...))
	}
	return nil
}
