package pulled

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"proa.dev/kit/atomicfile"
)

// Records is who has pulled what. Its methods are safe for concurrent use.
type Records struct {
	policy          Policy
	pulling, pulled string // directories
	log             *slog.Logger
	checks          checks

	writing sync.Mutex // held while files and the index change, so that they change in the same order; taken before mu

	mu      sync.RWMutex // guards all below
	images  map[string]entry
	intents map[string]int  // by image, of which there is a file: how many pulls are under way
	broken  map[string]bool // by path, of files that cannot be read
}

// entry is one image of the index.
type entry struct {
	*record
	at time.Time // when somebody last pulled it, which is not always news for the file
}

// Open reads what there is below the kubelet's root.
func Open(root string, p Policy, log *slog.Logger) (*Records, error) {
	p, err := p.Complete()
	if err != nil {
		return nil, err
	}
	dir := filepath.Join(root, "image_manager")
	r := &Records{
		policy: p, pulling: filepath.Join(dir, "pulling"), pulled: filepath.Join(dir, "pulled"), log: log,
		images: map[string]entry{}, intents: map[string]int{}, broken: map[string]bool{},
	}
	for _, dir := range []string{r.pulling, r.pulled} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return nil, fmt.Errorf("records of pulled images: %w", err)
		}
	}
	if err := r.read(r.pulling, r.readIntent); err != nil {
		return nil, err
	}
	return r, r.read(r.pulled, r.readRecord)
}

// read hands every file of a directory that is one of ours to take. One that cannot be read is told of, and noted.
func (r *Records) read(dir string, take func(name string, data []byte) error) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return fmt.Errorf("records of pulled images: %w", err)
	}
	for _, e := range entries {
		if e.IsDir() || !strings.HasPrefix(e.Name(), prefix) || strings.HasSuffix(e.Name(), half) {
			continue
		}
		path := filepath.Join(dir, e.Name())
		data, err := os.ReadFile(path)
		if err == nil {
			err = take(e.Name(), data)
		}
		if err != nil {
			r.log.Warn("record of a pulled image not readable: credentials for that image are verified anew", "file", path, "err", err)
			r.broken[path] = true
		}
	}
	return nil
}

func (r *Records) readIntent(name string, data []byte) error {
	i, old, err := readIntent(name, data)
	if err != nil {
		return err
	}
	r.intents[i.Image] = 0
	if old {
		return r.writeIntent(i.Image)
	}
	return nil
}

func (r *Records) readRecord(name string, data []byte) error {
	rec, old, err := readRecord(name, data)
	if err != nil {
		return err
	}
	r.images[rec.ID] = entry{rec, rec.Updated.Time}
	if old {
		return r.writeRecord(rec)
	}
	return nil
}

// half ends the name of a file that is not written to its end.
const half = ".tmp"

// writeIntent does not wait for the disk: that would be felt in every pull. What a machine that lost power has of it is enough: the name.
func (r *Records) writeIntent(image string) error {
	data, err := encode(newIntent(image))
	if err != nil {
		return err
	}
	path := filepath.Join(r.pulling, fileName(image))
	if err := os.WriteFile(path+half, data, 0o600); err != nil {
		return errors.Join(err, os.Remove(path+half))
	}
	return os.Rename(path+half, path)
}

func (r *Records) writeRecord(rec *record) error {
	data, err := encode(rec)
	if err != nil {
		return err
	}
	return atomicfile.Write(filepath.Join(r.pulled, fileName(rec.ID)), data, 0o600)
}

// MayUse says whether a pod may use an image that is here with this id, by this name. credentials is called at most once, and only where
// they matter.
func (r *Records) MayUse(image, id string, credentials func() []Credential) bool {
	v, learn := r.policy.decide(image, r.look(image, id), credentials)
	r.checks.add(v)
	if learn != nil {
		if err := r.add(image, id, Pullers{Secrets: []Secret{*learn}}, time.Now()); err != nil {
			r.log.Warn("credentials of a pulled image not noted", "image", image, "err", err)
		}
	}
	return v == byPolicy || v == byRecord
}

func (r *Records) look(image, id string) known {
	r.mu.RLock()
	defer r.mu.RUnlock()
	k := known{record: r.images[id].record}
	_, k.begun = r.intents[image]
	if len(r.broken) > 0 {
		k.broken = r.broken[filepath.Join(r.pulled, fileName(id))] || k.record == nil && r.broken[filepath.Join(r.pulling, fileName(image))]
	}
	return k
}

// Begin notes that an image is going to be pulled. end has to be called when that is over: with the image's id and the credential that it
// came by (nil: none was needed), or with "" if it did not come.
func (r *Records) Begin(image string) (end func(id string, by *Credential), err error) {
	r.writing.Lock()
	defer r.writing.Unlock()
	r.mu.Lock()
	n := r.intents[image]
	r.mu.Unlock()
	if n == 0 {
		if err := r.writeIntent(image); err != nil {
			return nil, fmt.Errorf("failed to record image pull intent: %w", err)
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.intents[image]++
	delete(r.broken, filepath.Join(r.pulling, fileName(image)))
	return func(id string, by *Credential) { r.end(image, id, by) }, nil
}

// end leaves the intent where the record could not be written: it says as much as is known then.
func (r *Records) end(image, id string, by *Credential) {
	var err error
	if id != "" {
		var who Pullers
		if who, err = by.pullers(); err == nil {
			err = r.add(image, id, who, time.Now())
		}
	}
	if err == nil {
		err = r.drop(image)
	}
	if err != nil {
		r.log.Warn("a pulled image not noted: credentials for it are verified anew", "image", image, "id", id, "err", err)
	}
}

// drop takes one pull off an intent, and the file with the last one.
func (r *Records) drop(image string) error {
	r.writing.Lock()
	defer r.writing.Unlock()
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.intents[image] > 1 {
		r.intents[image]--
		return nil
	}
	if err := os.Remove(filepath.Join(r.pulling, fileName(image))); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	delete(r.intents, image)
	return nil
}

// add notes who has pulled an image by a name. No pullers: it is known that it was pulled, but not by whom.
func (r *Records) add(image, id string, who Pullers, now time.Time) error {
	name, err := trim(image)
	if err != nil {
		return fmt.Errorf("image name %q: %w", image, err)
	}
	r.writing.Lock()
	defer r.writing.Unlock()
	r.mu.RLock()
	old := r.images[id].record
	r.mu.RUnlock()
	if old == nil {
		old = &record{TypeMeta: metav1.TypeMeta{Kind: kindRecord, APIVersion: version}, ID: id}
	}
	rec := merge(old, name, who)
	if rec != old || rec.Updated.IsZero() {
		fresh := *rec
		fresh.Updated = metav1.NewTime(now)
		rec = &fresh
		if err := r.writeRecord(rec); err != nil {
			return err
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.images[id] = entry{rec, now}
	delete(r.broken, filepath.Join(r.pulled, fileName(id)))
	return nil
}

// Recover turns intents of a process that died into records, where their images came: find is the id of an image that is here, "" if it is
// not. The intents of others stay.
func (r *Records) Recover(ctx context.Context, find func(ctx context.Context, image string) (id string, err error)) {
	r.mu.RLock()
	images := slices.Sorted(maps.Keys(r.intents))
	r.mu.RUnlock()
	for _, image := range images {
		id, err := find(ctx, image)
		if err == nil && id == "" {
			continue
		}
		if err == nil {
			err = r.add(image, id, Pullers{}, time.Now())
		}
		if err == nil {
			err = r.drop(image)
		}
		if err != nil {
			r.log.Warn("pull that was broken off not followed up: credentials for the image are verified anew", "image", image, "err", err)
		}
	}
}

// Prune forgets images that are not on the node any more: left are the ids of those that were, some time after began.
func (r *Records) Prune(left []string, began time.Time) {
	stay := map[string]bool{}
	for _, id := range left {
		stay[id] = true
	}
	r.writing.Lock()
	defer r.writing.Unlock()
	r.mu.RLock()
	var gone []string
	for id, k := range r.images {
		if !stay[id] && k.at.Before(began) {
			gone = append(gone, id)
		}
	}
	r.mu.RUnlock()
	for _, id := range gone {
		if err := os.Remove(filepath.Join(r.pulled, fileName(id))); err != nil && !errors.Is(err, fs.ErrNotExist) {
			r.log.Warn("record of a removed image not removed", "id", id, "err", err)
			continue
		}
		r.mu.Lock()
		delete(r.images, id)
		r.mu.Unlock()
	}
}
