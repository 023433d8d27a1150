package core

import (
	"strings"

	core "k8s.io/api/core/v1"
)

// NamesAndImages are the names of containers and their images, each joined by commas, for tables.
func NamesAndImages(list []core.Container) (names, images string) {
	n, i := make([]string, len(list)), make([]string, len(list))
	for x, c := range list {
		n[x], i[x] = c.Name, c.Image
	}
	return strings.Join(n, ","), strings.Join(i, ",")
}

func isHugePages(name core.ResourceName) bool {
	return strings.HasPrefix(string(name), core.ResourceHugePagesPrefix)
}
