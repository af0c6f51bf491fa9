#!/bin/bash
# nginx: a text of its own at /, what was PUT under /store.
set -eu
mkdir -p /tmp/www/store /tmp/nginx
echo "nginx of ${NAME:-web}" >/tmp/www/index.html
cat >/tmp/nginx.conf <<CONF
user root; daemon off; error_log stderr; pid /tmp/nginx/pid; worker_processes 1;
events { worker_connections 512; }
http {
    access_log off; include /etc/nginx/mime.types;
    client_body_temp_path /tmp/nginx/body; proxy_temp_path /tmp/nginx/proxy; fastcgi_temp_path /tmp/nginx/f;
    uwsgi_temp_path /tmp/nginx/u; scgi_temp_path /tmp/nginx/s;
    server {
        listen ${PORT:-80}; listen [::]:${PORT:-80}; root /tmp/www; client_max_body_size 100m;
        location /store/ { dav_methods PUT; }
    }
}
CONF
exec nginx -c /tmp/nginx.conf
