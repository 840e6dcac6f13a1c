# For run and newcomer, which source it: what a reader of the pages finds on a machine.

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
url=https://github.com/confab-chat/confab # where README clones from

# snapshot DIR: makes a bare repository of the working tree, with what is not committed yet.
snapshot() {
	git init --quiet --bare --initial-branch=main "$1"
	local git=(git --git-dir="$1" --work-tree="$root" -c user.name=reader -c user.email=reader@example.com)
	(cd "$root" && "${git[@]}" add --all && "${git[@]}" commit --quiet --message "the working tree")
}

# from DIR: prints the variables with which git takes DIR for the address in README: no line of the page is changed.
from() {
	printf '%s\n' GIT_CONFIG_COUNT=1 "GIT_CONFIG_KEY_0=url.file://$1.insteadOf" "GIT_CONFIG_VALUE_0=$url"
}

# downloads: prints the settings of this machine for the module proxy and for pip, as variables.
downloads() {
	local name
	for name in GOPROXY GONOPROXY GOSUMDB GONOSUMDB GOPRIVATE GOINSECURE GOVCS GOTOOLCHAIN; do
		printf '%s\n' "$name=$(go env "$name")"
	done
	env | grep -E '^(PIP_[A-Z_]+|(HTTPS?|NO|ALL)_PROXY|(https?|no|all)_proxy)=' || true
}

# Variables with which a server takes free ports, as other servers may run on this machine.
free_ports=(CONFAB_LISTEN=localhost:0 CONFAB_LISTEN_HTTP=localhost:0 CONFAB_LISTEN_OPS=localhost:0)
