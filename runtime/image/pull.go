package image

type pulls struct{}
