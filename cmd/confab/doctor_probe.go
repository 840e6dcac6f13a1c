package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

// probeTimeout is the time limit of one probe of `confab doctor`. It is long because Java
// compiles its probe first, which takes time on a busy machine.
const probeTimeout = time.Minute

// probe is a small program in one language that sends a request to the server, to check
// that the language trusts the server's certificate. The program prints its version and
// exits with 0, or prints the error to stderr.
type probe struct {
	name     string
	programs []string // possible names of the language's interpreter, tried in order; empty: this program itself is the probe
	file     string   // name of the file to which the probe's source is written; "": the source is an argument
	args     []string // arguments of the interpreter before the URL; the source or its file replaces the word SOURCE
	source   string
	mend     string // remedy for a failure
}

var probes = []probe{
	{
		name: "Python", programs: []string{"python3", "python"}, args: []string{"-c", "SOURCE"}, source: pythonProbe,
		mend: "use Python's ssl or requests with the file that REQUESTS_CA_BUNDLE and SSL_CERT_FILE name",
	},
	{
		name: "Node", programs: []string{"node"}, args: []string{"-e", "SOURCE"}, source: nodeProbe,
		mend: "give your client the authority itself: ca: fs.readFileSync(process.env.CONFAB_CA_FILE)",
	},
	{
		name: "Java", programs: []string{"java"}, file: "Probe.java", args: []string{"-XX:TieredStopAtLevel=1", "SOURCE"}, source: javaProbe,
		mend: "look for another javax.net.ssl.trustStore in JDK_JAVA_OPTIONS, _JAVA_OPTIONS or your program: it comes before that of JAVA_TOOL_OPTIONS",
	},
	{
		name: "Go", args: []string{probeCommand}, mend: goMend(runtime.GOOS),
	},
}

const pythonProbe = `
import platform, ssl, sys, urllib.error, urllib.request
url = sys.argv[1]
said = "Python " + platform.python_version()
try:
    try:
        urllib.request.urlopen(url, timeout=30)
    except urllib.error.HTTPError:
        pass
    try:
        import requests
        requests.get(url, timeout=30)
        said += ", requests " + requests.__version__
    except ImportError:
        pass
except Exception as e:
    sys.exit(type(e).__name__ + ": " + str(e))
print(said)
`

const nodeProbe = `
require('https').get(process.argv[1], () => {
  console.log('Node ' + process.version);
  process.exit(0);
}).on('error', e => {
  console.error((e.code || e.name) + ': ' + e.message);
  process.exit(1);
});
`

const javaProbe = `
public class Probe {
    public static void main(String[] args) {
        try {
            var c = (java.net.HttpURLConnection) java.net.URI.create(args[0]).toURL().openConnection();
            c.setConnectTimeout(30000);
            c.setReadTimeout(30000);
            c.getResponseCode();
        } catch (Exception e) {
            System.err.println(e);
            System.exit(1);
        }
        System.out.println("Java " + System.getProperty("java.version"));
    }
}
`

// probeCommand is the name of the hidden command with which this program requests a URL.
// `confab doctor` runs it to check a client in Go.
const probeCommand = "probe"

func newProbe() *cobra.Command {
	return &cobra.Command{
		Use:    probeCommand + " URL",
		Short:  "Try a request, as any Go program does it",
		Hidden: true,
		Args:   oneArg("a URL"),
		RunE: func(cmd *cobra.Command, args []string) error {
			req, err := http.NewRequestWithContext(cmd.Context(), http.MethodGet, args[0], nil)
			if err != nil {
				return err
			}
			res, err := http.DefaultClient.Do(req)
			if err != nil {
				return errors.Unwrap(err) // return the cause of the error, without the method and the URL that url.Error adds
			}
			res.Body.Close()
			_, err = fmt.Fprintln(cmd.OutOrStdout(), "Go "+strings.TrimPrefix(runtime.Version(), "go"))
			return err
		},
	}
}

// goMend returns the remedy for a Go client that does not trust the server.
func goMend(goos string) string {
	if goos == "windows" || goos == "darwin" {
		return "Go ignores SSL_CERT_FILE on this system: read CONFAB_CA_FILE into your client's RootCAs, or: " + programName() + " trust"
	}
	return "read CONFAB_CA_FILE into your client's RootCAs"
}

// try runs the probe's program with the URL and the environment environ, and returns a finding. The
// finding has the state skipped if the interpreter is not installed.
func (p probe) try(ctx context.Context, url string, environ []string) finding {
	path, err := p.find()
	if err != nil {
		return finding{Check: p.name, State: skipped}
	}
	source := p.source
	if p.file != "" {
		dir, err := os.MkdirTemp("", "confab-doctor-")
		if err != nil {
			return finding{p.name, warning, "not tried: " + err.Error(), ""}
		}
		defer os.RemoveAll(dir)
		source = filepath.Join(dir, p.file)
		if err := os.WriteFile(source, []byte(p.source), 0o600); err != nil {
			return finding{p.name, warning, "not tried: " + err.Error(), ""}
		}
	}
	var args []string
	for _, a := range p.args {
		args = append(args, strings.Replace(a, "SOURCE", source, 1))
	}
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, path, append(args, url+"/")...)
	cmd.Env = environ
	cmd.WaitDelay = time.Second // limit the wait for the output, because a child of a wrapper script may keep the pipes open
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if ctx.Err() != nil {
		err = fmt.Errorf("no answer within %v", probeTimeout)
	}
	return p.judge(string(out), stderr.String(), err, os.Getenv)
}

// find returns the path of the probe's interpreter. For the Go probe, which needs no
// interpreter, it returns the path of this program.
func (p probe) find() (path string, err error) {
	if len(p.programs) == 0 {
		return os.Executable()
	}
	for _, name := range p.programs {
		if path, err = exec.LookPath(name); err == nil {
			return path, nil
		}
	}
	return "", err
}

// judge returns the finding about a probe that has run, from its stdout, its stderr and its exit
// error.
func (p probe) judge(out, stderr string, err error, getenv func(string) string) finding {
	if err == nil {
		return finding{Check: p.name, State: fine, Found: lastLine(out) + " trusts the server"}
	}
	said := strings.TrimPrefix(lastLine(stderr), "confab: ") // the Go probe's prefix
	if said == "" {
		said = err.Error()
	}
	f := finding{p.name, broken, said, p.mend}
	var exit *exec.ExitError
	switch {
	case p.name == "Java" && (strings.Contains(stderr, "jdk.compiler") || strings.Contains(stderr, "Could not find or load main class")):
		f.State, f.Found, f.Mend = warning, "this Java cannot compile the probe", "try a JDK, version 11 or later"
	case !errors.As(err, &exit):
		// The program did not start or was killed, so it is unknown whether the language trusts the
		// server.
		f.State, f.Mend = warning, ""
		f.Found = "not tried: " + said
	default:
		// A proxy elsewhere cannot reach localhost of this machine, so a proxy in the environment
		// may be the cause.
		for _, name := range []string{"HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"} {
			if getenv(name) != "" {
				f.Mend = "a proxy is set (" + name + "): add localhost to NO_PROXY. If that is not it: " + p.mend
				break
			}
		}
	}
	return f
}
