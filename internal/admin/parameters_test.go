package admin_test

import (
	"testing"

	"github.com/confab-chat/confab/internal/admin"
)

// TestParametersAreText sends parameters with a NUL, which PostgreSQL cannot store or compare, and
// with bytes that are not UTF-8. It checks that every operation refuses them.
func TestParametersAreText(t *testing.T) {
	p := start(t)
	for _, path := range []string{
		"/users?search=a&next=", "/users?next=", "/threads?search=", "/threads?search=a&next=", "/audit?who=", "/audit?target=", "/audit?next=",
		"/events?kind=", "/search?q=", "/requests?q=", "/requests?operation=", "/requests/stream?sdk=", "/events/stream?after=",
	} {
		for _, value := range []string{"u%00", "%ff"} {
			var problem admin.Problem
			p.want(400, "GET", "/admin/v1"+path+value, "", &problem)
			if problem.Code != "bad-parameter" {
				t.Errorf("%s%s: %+v", path, value, problem)
			}
		}
	}
	p.want(400, "GET", "/admin/v1/users?%00=1", "", nil)
}
