// Package images makes container images of software that nobody here wrote, for end-to-end tests: Debian packages with all
// they depend on, downloaded and verified by apt, unpacked, and packed as an OCI archive. Package scripts do not run; what
// they would set up and servers need (users, directories of their own) is made here.
//
// It imports runtime/archive and runs apt-get and dpkg-deb of the machine. Read debian.go.
package images
