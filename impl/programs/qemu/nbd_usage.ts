/** What `qemu-nbd --help` prints: options that exist, in the groups of QEMU's own page. */
export const NBD_USAGE = `Usage: NAME [OPTIONS] FILE
  or:  NAME -L [OPTIONS]
Exports an image to clients of the NBD protocol

  -h, --help                display this help and exit
  -V, --version             output version information and exit

Connection properties:
  -p, --port=PORT           port to listen on (default \`10809')
  -b, --bind=IFACE          address to bind to (default \`127.0.0.1')
  -k, --socket=PATH         path to the unix socket
  -e, --shared=NUM          so many clients at once, 0 for any number (default '1')
  -t, --persistent          don't exit on the last connection
  -v, --verbose             accepted, without effect
  -x, --export-name=NAME    expose export by name (default is empty string)
  -D, --description=TEXT    export a human-readable description
      --handshake-limit=N   limit client's handshake to N seconds (default 10)

Exposing part of the image:
  -o, --offset=OFFSET       offset into the image
  -A, --allocation-depth    expose the allocation depth
  -B, --bitmap=NAME         expose a persistent dirty bitmap

General purpose options:
  -L, --list                list exports available from another NBD server
  --object type,id=ID,...   define an object: 'secret', 'tls-creds-x509' or 'tls-creds-psk'
  --tls-creds=ID            use id of an earlier --object to provide TLS
  --tls-hostname=HOST       whom the certificate of a listed server must name
  -T, --trace OPTS          accepted, without effect
  --fork                    go on in the background, and exit the parent
                            once the server is running
  --pid-file=PATH           store the server's process ID in the given file
  --selinux-label=LABEL     accepted, without effect

Block device options:
  -f, --format=FORMAT       set image format (raw, qcow2, ...)
  -r, --read-only           export read-only
  -n, --nocache             disable host cache
      --cache=MODE          'none', 'writeback' (default), 'writethrough',
                            'directsync' or 'unsafe'
      --aio=MODE            set AIO mode (native, io_uring or threads)
      --discard=MODE        set discard mode (ignore, unmap)
      --detect-zeroes=MODE  set detect-zeroes mode (off, on, unmap)
      --image-opts          treat FILE as a full set of image options
`
