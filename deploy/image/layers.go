package main

import (
	"archive/tar"
	"bytes"
	"io"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

type platformImage struct {
	platform v1.Platform
	image    v1.Image
}

// image has two layers: the certificates, which seldom change, below the binary.
func image(o options, platform v1.Platform, binary, certificates []byte) (v1.Image, error) {
	img := mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), types.OCIConfigJSON)
	config, err := img.ConfigFile()
	if err != nil {
		return nil, err
	}
	config = config.DeepCopy()
	config.OS, config.Architecture, config.Variant = platform.OS, platform.Architecture, platform.Variant
	config.Created = v1.Time{Time: o.created}
	config.Config = v1.Config{
		Entrypoint:   []string{"/persistd"},
		Cmd:          []string{"serve"},
		User:         "65532:65532",
		WorkingDir:   "/",
		StopSignal:   "SIGTERM",
		ExposedPorts: map[string]struct{}{"8080/tcp": {}},
		Labels:       labels(o),
	}
	if img, err = mutate.ConfigFile(img, config); err != nil {
		return nil, err
	}
	files := []layerFile{{name: "persistd", content: binary, mode: 0o755, about: "persistd"}}
	if certificates != nil {
		ca := layerFile{
			name: "etc/ssl/certs/ca-certificates.crt", content: certificates, mode: 0o644, about: "CA certificates",
			folders: []string{"etc/", "etc/ssl/", "etc/ssl/certs/"},
		}
		files = append([]layerFile{ca}, files...)
	}
	for _, f := range files {
		layer, err := f.layer(o.created)
		if err != nil {
			return nil, err
		}
		img, err = mutate.Append(img, mutate.Addendum{
			Layer: layer, MediaType: types.OCILayer,
			History: v1.History{CreatedBy: "deploy/image", Comment: f.about, Created: v1.Time{Time: o.created}},
		})
		if err != nil {
			return nil, err
		}
	}
	return img, nil
}

func labels(o options) map[string]string {
	return map[string]string{
		"org.opencontainers.image.title":       "persistd",
		"org.opencontainers.image.description": "Event-sourced workflow state in MySQL, by way of a NATS JetStream log",
		"org.opencontainers.image.source":      "https://github.com/persistd/persistd",
		"org.opencontainers.image.version":     o.version,
		"org.opencontainers.image.created":     o.created.Format(time.RFC3339),
	}
}

// layerFile is a layer of one file and the folders it needs, all of them root's.
type layerFile struct {
	name, about string
	content     []byte
	mode        int64
	folders     []string
}

func (f layerFile) layer(at time.Time) (v1.Layer, error) {
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	for _, folder := range f.folders {
		header := &tar.Header{Typeflag: tar.TypeDir, Name: folder, Mode: 0o755, ModTime: at, Format: tar.FormatPAX}
		if err := w.WriteHeader(header); err != nil {
			return nil, err
		}
	}
	if err := addFile(w, f.name, f.content, f.mode, at); err != nil {
		return nil, err
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	open := func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(out.Bytes())), nil }
	return tarball.LayerFromOpener(open, tarball.WithMediaType(types.OCILayer))
}

// writeLayout writes the images under one index, named for those who look names up in an archive: skopeo and podman by the
// first annotation, docker and ctr by the second.
func writeLayout(dir string, o options, images []platformImage) (v1.Hash, error) {
	index := mutate.IndexMediaType(empty.Index, types.OCIImageIndex)
	for _, i := range images {
		platform := i.platform
		index = mutate.AppendManifests(index, mutate.IndexAddendum{Add: i.image, Descriptor: v1.Descriptor{Platform: &platform}})
	}
	path, err := layout.Write(dir, empty.Index)
	if err != nil {
		return v1.Hash{}, err
	}
	err = path.AppendIndex(index, layout.WithAnnotations(map[string]string{
		"org.opencontainers.image.ref.name": o.version,
		"io.containerd.image.name":          "docker.io/library/persistd:" + o.version,
	}))
	if err != nil {
		return v1.Hash{}, err
	}
	return index.Digest()
}
