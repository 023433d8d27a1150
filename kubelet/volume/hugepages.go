package volume

import (
	"fmt"
	"strings"

	"golang.org/x/sys/unix"
	core "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
)

// isHuge says whether an emptyDir is made of huge pages.
func isHuge(m core.StorageMedium) bool {
	return m == core.StorageMediumHugePages || strings.HasPrefix(string(m), string(core.StorageMediumHugePagesPrefix))
}

// hugePageSize is the size of the pages of an emptyDir: what its medium names, else the one that the pod's containers ask for.
func hugePageSize(pod *core.Pod, m core.StorageMedium) (*resource.Quantity, error) {
	if size, ok := strings.CutPrefix(string(m), string(core.StorageMediumHugePagesPrefix)); ok {
		q, err := resource.ParseQuantity(size)
		if err != nil {
			return nil, fmt.Errorf("medium %s: %w", m, err)
		}
		return &q, nil
	}
	found := ""
	for _, list := range [][]core.Container{pod.Spec.InitContainers, pod.Spec.Containers} {
		for i := range list {
			for name, n := range list[i].Resources.Requests {
				size, ok := strings.CutPrefix(string(name), core.ResourceHugePagesPrefix)
				if !ok || n.IsZero() {
					continue
				}
				if found != "" && found != size {
					return nil, fmt.Errorf("medium %s cannot be used if the pod requests multiple huge page sizes", m)
				}
				found = size
			}
		}
	}
	if found == "" {
		return nil, fmt.Errorf("hugePages storage requested, but there is no resource request for huge pages")
	}
	q, err := resource.ParseQuantity(found)
	return &q, err
}

// mountHuge mounts huge pages at dir.
func mountHuge(pod *core.Pod, m core.StorageMedium, dir string) error {
	size, err := hugePageSize(pod, m)
	if err != nil {
		return err
	}
	if err := unix.Mount("nodev", dir, "hugetlbfs", 0, fmt.Sprintf("pagesize=%d", size.Value())); err != nil {
		return fmt.Errorf("mount huge pages of %s: %w", size, err)
	}
	return nil
}
