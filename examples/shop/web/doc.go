// Command web serves one page: the title of TITLE_FILE, a visit count from the store, and who answered. It finds the store twice, by
// DNS name and by the environment variables that Kubernetes injects, and says so.
//
//	GET /          the page
//	GET /healthz   200 while the process lives
//	GET /readyz    200 while the store answers
//
// "web -version" prints the version and ends.
package main
