package builder

import "testing"

func TestSecretsAreFilesVariablesOrNothing(t *testing.T) {
	o := runOptions(t, `FROM scratch
ENV BOTH=of-the-image
RUN --mount=type=secret,id=given test "$(cat /run/secrets/given)" = secret
RUN --mount=type=secret,id=given,env=ONE test "$ONE" = secret && ! test -e /run/secrets/given
RUN --mount=type=secret,id=given,env=BOTH,target=/mnt/file test "$BOTH $(cat /mnt/file)" = "secret secret"
RUN --mount=type=secret,id=empty test -f /run/secrets/empty && ! test -s /run/secrets/empty
RUN --mount=type=secret,id=absent --mount=type=secret,id=absent,env=NONE ! test -e /run/secrets/absent && test -z "${NONE+set}"
RUN test "$BOTH" = of-the-image
BASE none
`, nil)
	o.Secrets = map[string][]byte{"given": []byte("secret"), "empty": {}}
	mustBuild(t, o)
}
