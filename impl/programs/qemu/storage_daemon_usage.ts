/** What `qemu-storage-daemon --help` prints. */
export const STORAGE_DAEMON_USAGE = `Usage: NAME [options]
QEMU storage daemon

  -h, --help             display this help and exit
  -T, --trace <text>     accepted, without effect
  -V, --version          output version information and exit

  --blockdev [driver=]<driver>[,node-name=<N>][,discard=ignore|unmap]
             [,cache.direct=on|off][,cache.no-flush=on|off]
             [,read-only=on|off][,auto-read-only=on|off]
             [,force-share=on|off][,detect-zeroes=on|off|unmap]
             [,options of the driver...]
                         adds a node; JSON is taken as well

  --chardev stdio,id=<id>
  --chardev socket,id=<id>,path=<path>|host=<host>,port=<port>|fd=<N>
            [,server=on|off][,wait=on|off]
                         where a monitor talks

  --daemonize            go on in the background once everything works

  --export [type=]nbd,id=<id>,node-name=<node-name>[,name=<export-name>]
           [,writable=on|off][,bitmaps.<N>=<name>]
                         export a node over NBD (needs --nbd-server)

  --monitor [chardev=]name[,mode=control][,pretty=on|off]
                         a QMP monitor

  --nbd-server addr.type=inet,addr.host=<host>,addr.port=<port>
               [,tls-creds=<id>][,max-connections=<n>]
  --nbd-server addr.type=unix,addr.path=<path>
               [,tls-creds=<id>][,max-connections=<n>]
                         start the NBD server

  --object help          list the types of objects
  --object <type>,id=<id>[,<property>=<value>...]
                         add an object

  --pidfile <path>       write the process id to a file after start
`
