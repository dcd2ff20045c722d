#include "disk.h"

#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SECTOR 512
#define FILE_MAX (256u << 20)
#define NAME_MAX_BYTES 160
#define SHM_REGIONS 64

/* One state of a file. changed: the sectors in which it may differ from the state `now`. */
struct layer {
        unsigned char *bytes; /* as long as the file's capacity */
        size_t size;
        bool is_there;
        unsigned char *changed; /* a byte a sector; NULL for `now` */
};

struct disk_file {
        char name[NAME_MAX_BYTES];
        struct layer now, synced, told;
        size_t capacity;
        unsigned n_open;
        /* locks of the file and of the shared memory that goes with it */
        int n_shared;
        struct handle *reserved, *pending, *exclusive;
        void *shm[SHM_REGIONS];
        int shm_size;
        int shm_shared[SQLITE_SHM_NLOCK];
        struct handle *shm_exclusive[SQLITE_SHM_NLOCK];
        unsigned n_shm;
};

struct handle {
        sqlite3_file base;
        struct disk_file *file;
        int lock;
        bool delete_on_close, has_shm, is_new; /* new: its first sync is one of its folder, too */
        unsigned shm_held; /* bit a slot */
};

/* The disk is the test's own: its memory never runs out (memory.c). */
void *__real_malloc(size_t size);
void *__real_calloc(size_t n, size_t size);
void *__real_realloc(void *pointer, size_t size);

static struct disk *current;

/* --- layers ---------------------------------------------------------------------------------------------- */

static size_t sectors(size_t bytes) {
        return (bytes + SECTOR - 1) / SECTOR;
}

static void *must(void *pointer) {
        if (!pointer)
                abort(); /* the simulator itself never runs out */
        return pointer;
}

static void layer_grow(struct layer *layer, size_t from, size_t to) {
        layer->bytes = must(__real_realloc(layer->bytes, to));
        memset(layer->bytes + from, 0, to - from);
        if (layer->changed) {
                layer->changed = must(__real_realloc(layer->changed, sectors(to)));
                memset(layer->changed + sectors(from), 0, sectors(to) - sectors(from));
        }
}

static void reserve(struct disk_file *file, size_t size) {
        if (size <= file->capacity)
                return;
        size_t capacity = file->capacity ? file->capacity : 64 * 1024;
        while (capacity < size)
                capacity *= 2;
        layer_grow(&file->now, file->capacity, capacity);
        layer_grow(&file->synced, file->capacity, capacity);
        layer_grow(&file->told, file->capacity, capacity);
        file->capacity = capacity;
}

static void note_change(struct disk_file *file, size_t from, size_t to) {
        for (size_t s = from / SECTOR; s < sectors(to); s++)
                file->synced.changed[s] = file->told.changed[s] = 1;
}

/* The layer becomes what is there now. */
static void layer_catch_up(struct disk_file *file, struct layer *layer) {
        for (size_t s = 0; s < sectors(file->capacity); s++)
                if (layer->changed[s]) {
                        memcpy(layer->bytes + s * SECTOR, file->now.bytes + s * SECTOR, SECTOR);
                        layer->changed[s] = 0;
                }
        layer->size = file->now.size;
        layer->is_there = file->now.is_there;
}

static struct disk_file *find(const char *name) {
        for (size_t i = 0; i < current->n_files; i++)
                if (strcmp(current->files[i]->name, name) == 0)
                        return current->files[i];
        return NULL;
}

static struct disk_file *add(struct disk *disk, const char *name) {
        struct disk_file *file = must(__real_calloc(1, sizeof *file));
        if (disk->n_files == sizeof disk->files / sizeof disk->files[0])
                abort();
        snprintf(file->name, sizeof file->name, "%s", name);
        file->synced.changed = must(__real_malloc(1));
        file->told.changed = must(__real_malloc(1));
        reserve(file, 1);
        disk->files[disk->n_files++] = file;
        return file;
}

static void file_free(struct disk_file *file) {
        free(file->now.bytes);
        free(file->synced.bytes);
        free(file->synced.changed);
        free(file->told.bytes);
        free(file->told.changed);
        for (size_t i = 0; i < SHM_REGIONS; i++)
                free(file->shm[i]);
        free(file);
}

static void remove_at(struct disk *disk, size_t i) {
        file_free(disk->files[i]);
        disk->files[i] = disk->files[--disk->n_files];
}

static void set_size(struct disk_file *file, size_t size) {
        reserve(file, size);
        if (size < file->now.size) {
                memset(file->now.bytes + size, 0, file->now.size - size);
                note_change(file, size, file->now.size);
        }
        file->now.size = size;
}

/* --- crashes and faults ---------------------------------------------------------------------------------- */

enum step { STEP_GO, STEP_DOWN, STEP_DOWN_AFTER };

/* Before every operation that changes something. */
static enum step change_step(void) {
        struct disk *disk = current;
        if (disk->is_quiet)
                return STEP_GO;
        if (disk->interrupt_in > 0 && --disk->interrupt_in == 0)
                disk->interrupt(disk->interrupt_data);
        if (disk->is_down)
                return STEP_DOWN;
        disk->n_operations++;
        if (disk->crash_in == 0 || --disk->crash_in > 0)
                return STEP_GO;
        disk->is_down = true;
        return disk->crash_after ? STEP_DOWN_AFTER : STEP_DOWN;
}

static bool strikes(unsigned fault) {
        struct disk *disk = current;
        if (disk->is_quiet || !(disk->faults & fault) || rng_uniform(&disk->rng) >= disk->fault_share)
                return false;
        disk->n_faults++;
        return true;
}

/* --- the methods of an open file ------------------------------------------------------------------------- */

static int method_read(sqlite3_file *base, void *ret, int n, sqlite3_int64 offset) {
        struct disk_file *file = ((struct handle *)base)->file;
        if ((current->is_down && !current->is_quiet) || strikes(DISK_EIO_READ))
                return SQLITE_IOERR_READ;
        size_t at = (size_t)offset, have = at < file->now.size ? file->now.size - at : 0, take = have < (size_t)n ? have : (size_t)n;
        if (take > 0)
                memcpy(ret, file->now.bytes + at, take);
        if (take == (size_t)n)
                return SQLITE_OK;
        memset((char *)ret + take, 0, (size_t)n - take);
        return SQLITE_IOERR_SHORT_READ;
}

static void put(struct disk_file *file, const void *from, size_t n, size_t at) {
        if (n == 0)
                return;
        reserve(file, at + n);
        memcpy(file->now.bytes + at, from, n);
        if (at + n > file->now.size)
                file->now.size = at + n;
        note_change(file, at, at + n);
}

static int method_write(sqlite3_file *base, const void *from, int n, sqlite3_int64 offset) {
        struct disk_file *file = ((struct handle *)base)->file;
        enum step step = change_step();
        if (step == STEP_DOWN)
                return SQLITE_IOERR_WRITE;
        if (step == STEP_GO && (strikes(DISK_FULL) || (size_t)offset + (size_t)n > FILE_MAX)) {
                put(file, from, (size_t)rng_below(&current->rng, (uint64_t)n + 1), (size_t)offset);
                return SQLITE_FULL;
        }
        if (step == STEP_GO && strikes(DISK_EIO_WRITE))
                return SQLITE_IOERR_WRITE;
        put(file, from, (size_t)n, (size_t)offset);
        return step == STEP_GO ? SQLITE_OK : SQLITE_IOERR_WRITE;
}

static int method_truncate(sqlite3_file *base, sqlite3_int64 size) {
        enum step step = change_step();
        if (step == STEP_DOWN || (step == STEP_GO && strikes(DISK_EIO_WRITE)))
                return SQLITE_IOERR_TRUNCATE;
        set_size(((struct handle *)base)->file, (size_t)size);
        return step == STEP_GO ? SQLITE_OK : SQLITE_IOERR_TRUNCATE;
}

static int method_sync(sqlite3_file *base, int flags) {
        (void)flags;
        struct handle *handle = (struct handle *)base;
        struct disk_file *file = handle->file;
        enum step step = change_step();
        if (step == STEP_DOWN)
                return SQLITE_IOERR_FSYNC;
        if (step == STEP_GO && strikes(DISK_EIO_SYNC)) {
                memset(file->synced.changed, 0, sectors(file->capacity)); /* as Linux does: the pages are clean, and not written */
                return SQLITE_IOERR_FSYNC;
        }
        if (!current->lies)
                layer_catch_up(file, &file->synced);
        for (size_t i = 0; i < current->n_files && handle->is_new; i++)
                if (!current->files[i]->now.is_there)
                        layer_catch_up(current->files[i], &current->files[i]->synced);
        handle->is_new = false;
        return step == STEP_GO ? SQLITE_OK : SQLITE_IOERR_FSYNC;
}

static int method_size(sqlite3_file *base, sqlite3_int64 *ret) {
        *ret = (sqlite3_int64)((struct handle *)base)->file->now.size;
        return SQLITE_OK;
}

/* --- locks: several connections of this process, as between processes ------------------------------------- */

static int method_unlock(sqlite3_file *base, int lock) {
        struct handle *handle = (struct handle *)base;
        struct disk_file *file = handle->file;
        if (handle->lock <= lock)
                return SQLITE_OK;
        if (file->exclusive == handle)
                file->exclusive = NULL;
        if (file->pending == handle)
                file->pending = NULL;
        if (file->reserved == handle)
                file->reserved = NULL;
        if (handle->lock >= SQLITE_LOCK_SHARED && lock < SQLITE_LOCK_SHARED)
                file->n_shared--;
        handle->lock = lock;
        return SQLITE_OK;
}

static int method_lock(sqlite3_file *base, int lock) {
        struct handle *handle = (struct handle *)base;
        struct disk_file *file = handle->file;
        if (handle->lock >= lock)
                return SQLITE_OK;
        if (lock == SQLITE_LOCK_SHARED) {
                if (file->pending || file->exclusive)
                        return SQLITE_BUSY;
                file->n_shared++;
        } else if (lock == SQLITE_LOCK_RESERVED) {
                if (file->reserved)
                        return SQLITE_BUSY;
                file->reserved = handle;
        } else if (lock == SQLITE_LOCK_EXCLUSIVE) {
                if ((file->pending && file->pending != handle) || (file->reserved && file->reserved != handle))
                        return SQLITE_BUSY;
                file->pending = handle;
                if (file->n_shared > 1) {
                        handle->lock = SQLITE_LOCK_PENDING;
                        return SQLITE_BUSY;
                }
                file->exclusive = handle;
        }
        handle->lock = lock;
        return SQLITE_OK;
}

static int method_check_reserved(sqlite3_file *base, int *ret) {
        *ret = ((struct handle *)base)->file->reserved != NULL;
        return SQLITE_OK;
}

static int method_shm_lock(sqlite3_file *base, int first, int n, int flags) {
        struct handle *handle = (struct handle *)base;
        struct disk_file *file = handle->file;
        bool takes = flags & SQLITE_SHM_LOCK, exclusive = flags & SQLITE_SHM_EXCLUSIVE;
        for (int i = first; takes && i < first + n; i++) {
                bool others = file->shm_exclusive[i] && file->shm_exclusive[i] != handle;
                int mine = (handle->shm_held >> i & 1) != 0;
                if (others || (exclusive && file->shm_shared[i] > mine))
                        return SQLITE_BUSY;
        }
        for (int i = first; i < first + n; i++) {
                unsigned bit = 1u << i;
                if (exclusive)
                        file->shm_exclusive[i] = takes ? handle : file->shm_exclusive[i] == handle ? NULL : file->shm_exclusive[i];
                else if (takes != ((handle->shm_held & bit) != 0)) {
                        file->shm_shared[i] += takes ? 1 : -1;
                        handle->shm_held ^= bit;
                }
        }
        return SQLITE_OK;
}

static int method_shm_map(sqlite3_file *base, int region, int size, int extend, void volatile **ret) {
        struct handle *handle = (struct handle *)base;
        struct disk_file *file = handle->file;
        *ret = NULL;
        if (region >= SHM_REGIONS)
                return SQLITE_IOERR_SHMMAP;
        if (!handle->has_shm)
                file->n_shm++;
        handle->has_shm = true;
        if (!file->shm[region] && extend)
                file->shm[region] = must(__real_calloc(1, (size_t)size));
        *ret = file->shm[region];
        return SQLITE_OK;
}

static void method_shm_barrier(sqlite3_file *base) {
        (void)base;
}

static void shm_clear(struct disk_file *file) {
        for (size_t i = 0; i < SHM_REGIONS; i++) {
                free(file->shm[i]);
                file->shm[i] = NULL;
        }
}

static int method_shm_unmap(sqlite3_file *base, int delete) {
        (void)delete;
        struct handle *handle = (struct handle *)base;
        struct disk_file *file = handle->file;
        for (int i = 0; i < SQLITE_SHM_NLOCK; i++) {
                if (file->shm_exclusive[i] == handle)
                        file->shm_exclusive[i] = NULL;
                if (handle->shm_held >> i & 1)
                        file->shm_shared[i]--;
        }
        handle->shm_held = 0;
        if (handle->has_shm && --file->n_shm == 0)
                shm_clear(file);
        handle->has_shm = false;
        return SQLITE_OK;
}

static int method_control(sqlite3_file *base, int operation, void *argument) {
        (void)base, (void)operation, (void)argument;
        return SQLITE_NOTFOUND;
}

static int method_sector_size(sqlite3_file *base) {
        (void)base;
        return 4096; /* as SQLite's own for Linux says */
}

static int method_characteristics(sqlite3_file *base) {
        (void)base;
        return SQLITE_IOCAP_POWERSAFE_OVERWRITE; /* as well */
}

static int method_close(sqlite3_file *base) {
        struct handle *handle = (struct handle *)base;
        method_shm_unmap(base, 0);
        method_unlock(base, SQLITE_LOCK_NONE);
        struct disk_file *file = handle->file;
        file->n_open--;
        if (handle->delete_on_close)
                for (size_t i = 0; i < current->n_files; i++)
                        if (current->files[i] == file) {
                                remove_at(current, i);
                                break;
                        }
        return SQLITE_OK;
}

static const sqlite3_io_methods methods = {
        .iVersion = 2,
        .xClose = method_close,
        .xRead = method_read,
        .xWrite = method_write,
        .xTruncate = method_truncate,
        .xSync = method_sync,
        .xFileSize = method_size,
        .xLock = method_lock,
        .xUnlock = method_unlock,
        .xCheckReservedLock = method_check_reserved,
        .xFileControl = method_control,
        .xSectorSize = method_sector_size,
        .xDeviceCharacteristics = method_characteristics,
        .xShmMap = method_shm_map,
        .xShmLock = method_shm_lock,
        .xShmBarrier = method_shm_barrier,
        .xShmUnmap = method_shm_unmap,
};

/* --- the methods of the file system ---------------------------------------------------------------------- */

static int vfs_open(sqlite3_vfs *vfs, const char *name, sqlite3_file *base, int flags, int *ret_flags) {
        (void)vfs;
        static unsigned n_nameless;
        struct handle *handle = (struct handle *)base;
        *handle = (struct handle){0};
        char nameless[32];
        if (!name) {
                snprintf(nameless, sizeof nameless, "nameless-%u", n_nameless++);
                name = nameless;
        }
        if (current->is_down && !current->is_quiet)
                return SQLITE_CANTOPEN;
        struct disk_file *file = find(name);
        if (!(file && file->now.is_there)) {
                if (!(flags & SQLITE_OPEN_CREATE))
                        return SQLITE_CANTOPEN;
                if (change_step() != STEP_GO)
                        return SQLITE_CANTOPEN;
                if (!file)
                        file = add(current, name);
                file->now.is_there = true;
                handle->is_new = true;
        }
        file->n_open++;
        handle->file = file;
        handle->delete_on_close = flags & SQLITE_OPEN_DELETEONCLOSE;
        handle->base.pMethods = &methods;
        if (ret_flags)
                *ret_flags = flags;
        return SQLITE_OK;
}

/* A deletion is durable once its folder is synced; until then a power cut may bring the file back. */
static int vfs_delete(sqlite3_vfs *vfs, const char *name, int sync_folder) {
        (void)vfs;
        struct disk_file *file = find(name);
        if (!file || !file->now.is_there)
                return SQLITE_IOERR_DELETE_NOENT;
        enum step step = change_step();
        if (step == STEP_DOWN || (step == STEP_GO && strikes(DISK_EIO_WRITE)))
                return SQLITE_IOERR_DELETE;
        set_size(file, 0);
        file->now.is_there = false;
        if (sync_folder)
                layer_catch_up(file, &file->synced);
        return step == STEP_GO ? SQLITE_OK : SQLITE_IOERR_DELETE;
}

static int vfs_access(sqlite3_vfs *vfs, const char *name, int flags, int *ret) {
        (void)vfs, (void)flags;
        const struct disk_file *file = find(name);
        *ret = file && file->now.is_there;
        return SQLITE_OK;
}

static int vfs_full_path(sqlite3_vfs *vfs, const char *name, int size, char *ret) {
        (void)vfs;
        snprintf(ret, (size_t)size, "%s", name);
        return SQLITE_OK;
}

static int vfs_randomness(sqlite3_vfs *vfs, int n, char *ret) {
        (void)vfs;
        for (int i = 0; i < n; i++)
                ret[i] = (char)rng_u64(&current->rng);
        return n;
}

static int vfs_sleep(sqlite3_vfs *vfs, int us) {
        (void)vfs;
        return us;
}

static int vfs_time(sqlite3_vfs *vfs, sqlite3_int64 *ret) {
        (void)vfs;
        *ret = 210866760000000; /* 1970; nothing depends on it */
        return SQLITE_OK;
}

static int vfs_last_error(sqlite3_vfs *vfs, int n, char *ret) {
        (void)vfs, (void)n, (void)ret;
        return 0;
}

void disk_use(struct disk *disk) {
        static sqlite3_vfs vfs = {
                .iVersion = 2,
                .szOsFile = sizeof(struct handle),
                .mxPathname = NAME_MAX_BYTES - 16,
                .zName = "simulated",
                .xOpen = vfs_open,
                .xDelete = vfs_delete,
                .xAccess = vfs_access,
                .xFullPathname = vfs_full_path,
                .xRandomness = vfs_randomness,
                .xSleep = vfs_sleep,
                .xGetLastError = vfs_last_error,
                .xCurrentTimeInt64 = vfs_time,
        };
        current = disk;
        sqlite3_vfs_register(&vfs, 1);
        sqlite3_randomness(0, NULL); /* drawn anew from this disk */
}

/* --- life ------------------------------------------------------------------------------------------------ */

void disk_init(struct disk *disk, uint64_t seed) {
        *disk = (struct disk){0};
        rng_init(&disk->rng, seed, 0xd15c);
}

void disk_fini(struct disk *disk) {
        while (disk->n_files > 0)
                remove_at(disk, 0);
}

void disk_mark_told(struct disk *disk) {
        for (size_t i = 0; i < disk->n_files; i++)
                layer_catch_up(disk->files[i], &disk->files[i]->told);
}

void disk_forget(struct disk *disk, const char *prefix) {
        for (size_t i = 0; i < disk->n_files;)
                if (strncmp(disk->files[i]->name, prefix, strlen(prefix)) == 0)
                        remove_at(disk, i);
                else
                        i++;
}

static void copy_as(struct disk *disk, const struct disk_file *file, const struct layer *layer, const char *prefix) {
        if (!layer->is_there)
                return;
        char name[NAME_MAX_BYTES + 8];
        snprintf(name, sizeof name, "%s%s", prefix, file->name);
        struct disk_file *copy = add(disk, name);
        copy->now.is_there = true;
        put(copy, layer->bytes, layer->size, 0);
}

/* The layers of the file agree on this content. */
static void settle(struct disk_file *file) {
        memset(file->synced.changed, 1, sectors(file->capacity));
        memset(file->told.changed, 1, sectors(file->capacity));
        layer_catch_up(file, &file->synced);
        layer_catch_up(file, &file->told);
}

static void cut_power(struct disk *disk, struct disk_file *file) {
        struct layer *now = &file->now, *synced = &file->synced;
        if (now->is_there != synced->is_there) {
                now->is_there = rng_below(&disk->rng, 2);
                if (now->is_there && synced->is_there) { /* the deletion is undone */
                        memcpy(now->bytes, synced->bytes, file->capacity);
                        now->size = synced->size;
                }
        }
        if (!now->is_there) {
                set_size(file, 0);
                return;
        }
        size_t size = rng_below(&disk->rng, 2) ? now->size : synced->size;
        if (now->size > synced->size && rng_below(&disk->rng, 2))
                size = synced->size + rng_below(&disk->rng, now->size - synced->size + 1);
        double share = rng_uniform(&disk->rng); /* that reached the disk */
        for (size_t s = 0; s < sectors(file->capacity); s++) {
                if (!synced->changed[s])
                        continue;
                unsigned char *mine = now->bytes + s * SECTOR;
                const unsigned char *old = synced->bytes + s * SECTOR;
                if (rng_uniform(&disk->rng) < share)
                        continue;
                size_t torn = rng_below(&disk->rng, 4) == 0 ? rng_below(&disk->rng, SECTOR) : 0;
                memcpy(mine + torn, old + torn, SECTOR - torn);
        }
        if (size < now->size)
                memset(now->bytes + size, 0, now->size - size);
        now->size = size;
}

/* Sectors of a failed sync are clean, and differ from what is synced all the same. */
static void mark_lost(struct disk_file *file) {
        for (size_t s = 0; s < sectors(file->capacity); s++)
                if (memcmp(file->now.bytes + s * SECTOR, file->synced.bytes + s * SECTOR, SECTOR) != 0)
                        file->synced.changed[s] = 1;
}

void disk_reboot(struct disk *disk, enum crash_kind kind) {
        size_t n = disk->n_files;
        for (size_t i = 0; i < n; i++) {
                copy_as(disk, disk->files[i], &disk->files[i]->told, "told/");
                copy_as(disk, disk->files[i], &disk->files[i]->now, "now/");
        }
        for (size_t i = 0; i < n; i++) {
                struct disk_file *file = disk->files[i];
                mark_lost(file);
                if (kind == CRASH_POWER)
                        cut_power(disk, file);
                settle(file);
                shm_clear(file);
        }
        disk->is_down = false;
        disk->crash_in = 0;
        disk->interrupt_in = 0;
}
