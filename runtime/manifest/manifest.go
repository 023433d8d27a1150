package manifest

import (
	_ "crypto/sha256" // digests are checked here
	_ "crypto/sha512"
	"encoding/json"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// Docker's media types for what OCI standardised later.
const (
	DockerManifest = "application/vnd.docker.distribution.manifest.v2+json"
	DockerIndex    = "application/vnd.docker.distribution.manifest.list.v2+json"
	dockerV1       = "application/vnd.docker.distribution.manifest.v1"
)

// Bounds on what an image may consist of.
const (
	MaxBytes  = 4 << 20 // of a manifest or an index, as registries have it
	MaxConfig = 8 << 20 // of a configuration
	maxLayers = 1024
	maxImages = 4096 // in one index
)

// Accept lists the media types to ask a registry for.
var accepted = []string{ocispec.MediaTypeImageManifest, ocispec.MediaTypeImageIndex, DockerManifest, DockerIndex}

// Accept is the value of the Accept header that asks a registry for a manifest or an index.
func Accept() string { return strings.Join(accepted, ", ") }

// Doc is a parsed document: exactly one field is set.
type Doc struct {
	Manifest *ocispec.Manifest
	Index    *ocispec.Index
}

// Parse reads a manifest or an index and checks it. The media type comes from whoever referred to the document and may be
// empty; where the document names another one, that is an error: the same bytes must not mean two things.
func Parse(b []byte, mediaType string) (Doc, error) {
	var head struct {
		SchemaVersion int             `json:"schemaVersion"`
		MediaType     string          `json:"mediaType"`
		Manifests     json.RawMessage `json:"manifests"`
		Config        json.RawMessage `json:"config"`
		Layers        json.RawMessage `json:"layers"`
		FSLayers      json.RawMessage `json:"fsLayers"`
	}
	if len(b) > MaxBytes {
		return Doc{}, fmt.Errorf("manifest has more than %d bytes", MaxBytes)
	}
	if err := json.Unmarshal(b, &head); err != nil {
		return Doc{}, fmt.Errorf("manifest: %w", err)
	}
	if head.SchemaVersion == 1 || head.FSLayers != nil || strings.HasPrefix(mediaType, dockerV1) {
		return Doc{}, errors.New("manifest of Docker's old schema 1: push the image again with a current tool")
	}
	if head.Manifests != nil && (head.Layers != nil || head.Config != nil) {
		return Doc{}, errors.New("manifest claims to be an index as well")
	}
	kind := head.MediaType
	if kind == "" {
		kind = mediaType
	}
	if known(mediaType) && known(kind) && isIndex(mediaType) != isIndex(kind) {
		return Doc{}, fmt.Errorf("document of type %s was announced as %s", kind, mediaType)
	}
	if isIndex(kind) || !known(kind) && head.Manifests != nil {
		return parseIndex(b)
	}
	return parseManifest(b)
}

func parseIndex(b []byte) (Doc, error) {
	var ix ocispec.Index
	if err := json.Unmarshal(b, &ix); err != nil {
		return Doc{}, fmt.Errorf("index: %w", err)
	}
	if len(ix.Manifests) > maxImages {
		return Doc{}, fmt.Errorf("index has more than %d entries", maxImages)
	}
	for i, d := range ix.Manifests {
		if err := Check(d); err != nil {
			return Doc{}, fmt.Errorf("index: entry %d: %w", i, err)
		}
	}
	return Doc{Index: &ix}, nil
}

func parseManifest(b []byte) (Doc, error) {
	var m ocispec.Manifest
	if err := json.Unmarshal(b, &m); err != nil {
		return Doc{}, fmt.Errorf("manifest: %w", err)
	}
	if err := Check(m.Config); err != nil {
		return Doc{}, fmt.Errorf("manifest: config: %w", err)
	}
	if m.Config.Size > MaxConfig {
		return Doc{}, fmt.Errorf("manifest: config has more than %d bytes", MaxConfig)
	}
	if len(m.Layers) > maxLayers {
		return Doc{}, fmt.Errorf("manifest has more than %d layers", maxLayers)
	}
	for i, d := range m.Layers {
		if err := Check(d); err != nil {
			return Doc{}, fmt.Errorf("manifest: layer %d: %w", i, err)
		}
	}
	return Doc{Manifest: &m}, nil
}

// Check says whether a descriptor can be fetched and verified.
func Check(d ocispec.Descriptor) error {
	if err := d.Digest.Validate(); err != nil {
		return fmt.Errorf("digest %q: %w", d.Digest, err)
	}
	if a := d.Digest.Algorithm(); a != digest.SHA256 && a != digest.SHA512 {
		return fmt.Errorf("digest %q: %w", d.Digest, digest.ErrDigestUnsupported)
	}
	if d.Size < 0 {
		return fmt.Errorf("size %d", d.Size)
	}
	return nil
}

// ParseConfig reads the configuration of an image that has the given number of layers.
func ParseConfig(b []byte, layers int) (ocispec.Image, error) {
	var c ocispec.Image
	if err := json.Unmarshal(b, &c); err != nil {
		return c, fmt.Errorf("image configuration: %w", err)
	}
	if len(c.RootFS.DiffIDs) != layers {
		return c, fmt.Errorf("image configuration names %d layers, the manifest %d", len(c.RootFS.DiffIDs), layers)
	}
	for i, d := range c.RootFS.DiffIDs {
		if err := Check(ocispec.Descriptor{Digest: d}); err != nil {
			return c, fmt.Errorf("image configuration: diff ID %d: %w", i, err)
		}
	}
	return c, nil
}

func isIndex(mediaType string) bool {
	return mediaType == ocispec.MediaTypeImageIndex || mediaType == DockerIndex
}

func known(mediaType string) bool { return slices.Contains(accepted, mediaType) }

// Host is the platform of this machine.
func Host() ocispec.Platform {
	p := ocispec.Platform{OS: "linux", Architecture: runtime.GOARCH}
	if p.Architecture == "arm" {
		p.Variant = "v7"
	}
	return p
}

// Pick chooses the entry of an index that fits the platform best. An entry that does not say what it is for fits only when
// none says so. The error lists what there is.
func Pick(ix ocispec.Index, want ocispec.Platform) (ocispec.Descriptor, error) {
	best, bestScore := ocispec.Descriptor{}, 0
	var have []string
	for _, d := range ix.Manifests {
		if d.Annotations["vnd.docker.reference.type"] == "attestation-manifest" {
			continue
		}
		if s := score(d.Platform, want); s > bestScore {
			best, bestScore = d, s
		}
		have = append(have, platformName(d.Platform))
	}
	if bestScore == 0 {
		if len(have) == 0 {
			have = []string{"none"}
		}
		return best, fmt.Errorf("no image for %s among: %s", platformName(&want), strings.Join(have, ", "))
	}
	return best, nil
}

// score is 0 for a platform that does not fit.
func score(have *ocispec.Platform, want ocispec.Platform) int {
	switch {
	case have == nil:
		return 1
	case have.OS != want.OS || have.Architecture != want.Architecture:
		return 0
	case have.Variant == want.Variant:
		return 5
	case want.Architecture == "arm" && have.Variant < want.Variant:
		return 2 // an older variant runs, and of several the newest is best
	case want.Architecture == "arm":
		return 0
	case have.Variant == "" || have.Variant == "v8" || have.Variant == "v1":
		return 4 // the base of arm64 and amd64
	}
	return 0
}

func platformName(p *ocispec.Platform) string {
	if p == nil {
		return "unnamed"
	}
	s := p.OS + "/" + p.Architecture
	if p.Variant != "" {
		s += "/" + p.Variant
	}
	return s
}
