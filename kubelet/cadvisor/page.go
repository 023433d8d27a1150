package cadvisor

import (
	"cmp"
	"os"
	"path/filepath"
	"slices"
	"time"

	"proa.dev/kit/prom"
)

// Group is a control group that is told of. Empty names are told as such: a group above containers has no container.
type Group struct {
	Path                      string // "/proa/kubepods/pod4e..."; "/" is the whole machine
	Namespace, Pod, Container string
	Name, Image               string // of the container: its id and its image
	Started                   time.Time
	Layer                     *Layer // what a container has written; nil: not known
	Links                     bool   // the network of its processes is told
	// Known is told where the group is not found, by the names of metrics.
	Known map[string]float64
}

// Layer is a directory in which so many bytes were written.
type Layer struct {
	Path string
	Used uint64
}

// Machine is where figures are read.
type Machine struct {
	Root string // "/"; tests have a directory in its place
}

// Write adds the figures of groups, and of the machine, to a page.
func (m Machine) Write(p *prom.Page, groups []Group) {
	t := m.open()
	readings := make([]*reading, len(groups))
	for i := range groups {
		readings[i] = t.read(&groups[i])
	}
	for _, f := range families() {
		begun := false
		for i := range groups {
			for _, s := range readings[i].series[f.name] {
				if !begun {
					p.Head(f.name, f.kind, f.help)
					begun = true
				}
				at := readings[i].at
				if f.spec {
					at = time.Time{}
				}
				p.ValueAt(groups[i].labels(s.labels), s.value, at)
			}
		}
	}
	t.machine(p)
}

// labels are those of a group's series, in the order of the alphabet; more are names and values in turns.
func (g *Group) labels(more []string) string {
	pairs := [][2]string{{"container", g.Container}, {"id", g.Path}, {"image", g.Image}, {"name", g.Name}, {"namespace", g.Namespace}, {"pod", g.Pod}}
	for i := 0; i+1 < len(more); i += 2 {
		pairs = append(pairs, [2]string{more[i], more[i+1]})
	}
	if len(more) > 0 {
		slices.SortFunc(pairs, func(a, b [2]string) int { return cmp.Compare(a[0], b[0]) })
	}
	flat := make([]string, 0, 2*len(pairs))
	for _, p := range pairs {
		flat = append(flat, p[0], p[1])
	}
	return prom.Labels(flat...)
}

// reading is what was read of a group.
type reading struct {
	at     time.Time
	series map[string][]sample // by the metric's name
}

// sample is one figure; labels are those beside the group's.
type sample struct {
	labels []string
	value  float64
}

func (r *reading) put(name string, v float64, labels ...string) {
	r.series[name] = append(r.series[name], sample{labels, v})
}

// from puts a figure of a table if it is there.
func (r *reading) from(name string, table map[string]uint64, key string, unit float64, labels ...string) {
	if v, ok := table[key]; ok {
		r.put(name, float64(v)*unit, labels...)
	}
}

// number puts what a file says if it is a number.
func (r *reading) number(name, dir, file string, unit float64, labels ...string) {
	if v, ok := number(filepath.Join(dir, file)); ok {
		r.put(name, float64(v)*unit, labels...)
	}
}

// read reads a group. Nothing is told of one that is not there, unless something is known of it all the same.
func (t *tree) read(g *Group) *reading {
	r := &reading{at: time.Now(), series: map[string][]sample{}}
	made, found := t.figures(r, g)
	if !found {
		if len(g.Known) == 0 {
			return r
		}
		for name, v := range g.Known {
			r.put(name, v)
		}
		if v, ok := g.Known["container_cpu_usage_seconds_total"]; ok {
			r.series["container_cpu_usage_seconds_total"] = []sample{{[]string{"cpu", "total"}, v}}
		}
	}
	r.put("container_last_seen", float64(r.at.Unix()))
	r.put("container_health_state", -1) // cAdvisor's word for a container that no one but the kubelet probes
	started := g.Started
	if started.IsZero() {
		started = made
	}
	if made.IsZero() {
		made = started
	}
	if !made.IsZero() {
		r.put("container_creation_time_seconds", float64(made.Unix()))
		r.put("container_start_time_seconds", float64(started.Unix()))
	}
	if g.Layer != nil {
		t.layer(r, g.Layer)
	}
	if g.Path == "/" {
		t.disks(r)
	}
	return r
}

// figures reads what the kernel counts for a group, and says when it was made; found is false if there is no such group.
func (t *tree) figures(r *reading, g *Group) (made time.Time, found bool) {
	if t.unified != "" {
		dir := filepath.Join(t.unified, g.Path)
		if made, found = madeAt(dir, "cgroup.events"); found {
			t.groupV2(r, dir)
			t.processes(r, g, dir)
		}
		return made, found
	}
	dirs := map[string]string{}
	for controller, at := range t.v1 {
		dir := filepath.Join(at, g.Path)
		if when, ok := madeAt(dir, "cgroup.clone_children"); ok {
			dirs[controller] = dir
			if !found || when.Before(made) {
				made = when
			}
			found = true
		}
	}
	if found {
		t.groupV1(r, dirs)
		t.processes(r, g, dirs["cpu"])
	}
	return made, found
}

// madeAt is when a group was made: its directory changes with the groups in it, one of its files does not.
func madeAt(dir, file string) (time.Time, bool) {
	info, err := os.Stat(dir)
	if err != nil {
		return time.Time{}, false
	}
	made := info.ModTime()
	if info, err := os.Stat(filepath.Join(dir, file)); err == nil && info.ModTime().Before(made) {
		made = info.ModTime()
	}
	return made, true
}
