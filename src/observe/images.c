/* Images that home labs run, and what their names say: a database is never for others, a web service has its usual port. */
#include "observe/engine.h"

#include <netinet/in.h>

#define DATABASE(image, title, port) { image, title, OBSERVE_IMAGE_DATABASE, port, IPPROTO_TCP }
#define WEB(image, title, port)      { image, title, OBSERVE_IMAGE_WEB, port, IPPROTO_TCP }
#define GAME(image, title, port)     { image, title, OBSERVE_IMAGE_GAME, port, IPPROTO_UDP }

/* By the last part of the image's name. */
static const struct observe_image_kind kinds[] = {
    DATABASE("postgres", "PostgreSQL", 5432), DATABASE("postgresql", "PostgreSQL", 5432), DATABASE("postgis", "PostgreSQL", 5432),
    DATABASE("pgvector", "PostgreSQL", 5432), DATABASE("pgvecto-rs", "PostgreSQL", 5432), DATABASE("timescaledb", "PostgreSQL", 5432),
    DATABASE("mysql", "MySQL", 3306), DATABASE("mariadb", "MariaDB", 3306), DATABASE("percona", "MySQL", 3306),
    DATABASE("redis", "Redis", 6379), DATABASE("valkey", "Valkey", 6379), DATABASE("keydb", "KeyDB", 6379),
    DATABASE("dragonfly", "Dragonfly", 6379), DATABASE("memcached", "memcached", 11211), DATABASE("mongo", "MongoDB", 27017),
    DATABASE("mongodb", "MongoDB", 27017), DATABASE("influxdb", "InfluxDB", 8086), DATABASE("elasticsearch", "Elasticsearch", 9200),
    DATABASE("opensearch", "OpenSearch", 9200), DATABASE("clickhouse-server", "ClickHouse", 8123), DATABASE("couchdb", "CouchDB", 5984),
    DATABASE("rabbitmq", "RabbitMQ", 5672), DATABASE("qdrant", "Qdrant", 6333), DATABASE("meilisearch", "Meilisearch", 7700),
    DATABASE("typesense", "Typesense", 8108), DATABASE("cassandra", "Cassandra", 9042), DATABASE("victoria-metrics", "VictoriaMetrics", 8428),
    WEB("grafana", "Grafana", 3000), WEB("prometheus", "Prometheus", 9090), WEB("alertmanager", "Alertmanager", 9093), WEB("loki", "Loki", 3100),
    WEB("registry", "a container registry", 5000), WEB("gitea", "Gitea", 3000), WEB("forgejo", "Forgejo", 3000), WEB("jellyfin", "Jellyfin", 8096),
    WEB("nextcloud", "Nextcloud", 80), WEB("home-assistant", "Home Assistant", 8123), WEB("homeassistant", "Home Assistant", 8123),
    WEB("portainer-ce", "Portainer", 9000), WEB("portainer", "Portainer", 9000), WEB("immich-server", "Immich", 2283), WEB("vaultwarden", "Vaultwarden", 80),
    WEB("paperless-ngx", "Paperless-ngx", 8000), WEB("mealie", "Mealie", 9000), WEB("backrest", "Backrest", 9898),
    WEB("uptime-kuma", "Uptime Kuma", 3001), WEB("homepage", "Homepage", 3000), WEB("pihole", "Pi-hole", 80), WEB("adguardhome", "AdGuard Home", 3000),
    WEB("sonarr", "Sonarr", 8989), WEB("radarr", "Radarr", 7878), WEB("prowlarr", "Prowlarr", 9696), WEB("bazarr", "Bazarr", 6767),
    WEB("qbittorrent", "qBittorrent", 8080), WEB("sabnzbd", "SABnzbd", 8080), WEB("plex", "Plex", 32400), WEB("navidrome", "Navidrome", 4533),
    WEB("audiobookshelf", "Audiobookshelf", 80), WEB("calibre-web", "Calibre-Web", 8083), WEB("freshrss", "FreshRSS", 80), WEB("miniflux", "Miniflux", 8080),
    WEB("syncthing", "Syncthing", 8384), WEB("node-red", "Node-RED", 1880), WEB("n8n", "n8n", 5678), WEB("open-webui", "Open WebUI", 8080),
    WEB("ollama", "Ollama", 11434), WEB("searxng", "SearXNG", 8080), WEB("code-server", "code-server", 8443), WEB("dozzle", "Dozzle", 8080),
    WEB("nginx", "nginx", 80), WEB("httpd", "Apache httpd", 80), WEB("caddy", "Caddy", 80), WEB("traefik", "Traefik", 80),
    GAME("minetest", "Minetest", 30000), GAME("luanti", "Luanti", 30000), GAME("valheim-server", "Valheim", 2456),
    GAME("minecraft-bedrock-server", "Minecraft (Bedrock)", 19132),
    { "minecraft-server", "Minecraft", OBSERVE_IMAGE_GAME, 25565, IPPROTO_TCP },
};

const struct observe_image_kind *observe_image_find(struct str image)
{
    for (size_t i = 0; i < image.len; i++)
        if (image.ptr[i] == '@')
            image.len = i;
    for (size_t i = image.len; i > 0; i--)
        if (image.ptr[i - 1] == '/') {
            image = str_skip(image, i);
            break;
        }
    image = str_first(image, str_find_char(image, ':'));
    for (size_t i = 0; i < ARRAY_SIZE(kinds); i++)
        if (str_equal_nocase(image, str_of(kinds[i].image)))
            return &kinds[i];
    return NULL;
}
