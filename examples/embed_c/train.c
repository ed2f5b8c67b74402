/* Trains the model of embed_c.gc on IDX files, then predicts; no Python, no framework, nothing but this and the library.

       graphc compile embed_c.gc --dim S=28 --emit shared,header,flat
       cc -O2 -o train train.c -L. -lembed_c -Wl,-rpath,'$ORIGIN'
       ./train embed_c.flat images.idx labels.idx 3 trained.flat

   Arguments: the first values, images and labels (IDX, not compressed), how many epochs, and where the trained values
   go. The last fifth of the digits is kept for testing. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include "embed_c.h"

enum { BATCH = 32, CLASSES = 10 };

static void fail(const char *what, const char *why) {
    fprintf(stderr, "train: %s: %s\n", what, why);
    exit(1);
}

static uint8_t *read_file(const char *path, int64_t *size) {
    FILE *file = fopen(path, "rb");
    if (!file || fseek(file, 0, SEEK_END)) fail(path, "cannot be read");
    *size = ftell(file);
    rewind(file);
    uint8_t *data = malloc(*size > 0 ? (size_t)*size : 1);
    if (!data || fread(data, 1, (size_t)*size, file) != (size_t)*size) fail(path, "cannot be read");
    fclose(file);
    return data;
}

static int64_t big_endian(const uint8_t *at) {
    return (int64_t)at[0] << 24 | at[1] << 16 | at[2] << 8 | at[3];
}

/* The bytes of an IDX file of unsigned bytes, after its header of `rank` sizes; the first size goes to `count`. */
static uint8_t *read_idx(const char *path, int rank, int64_t *count, int64_t *row) {
    int64_t size, head = 4 + 4 * rank;
    uint8_t *data = read_file(path, &size);
    if (size < head || big_endian(data) != 0x800 + rank) fail(path, "not an IDX file of bytes");
    *count = big_endian(data + 4);
    *row = 1;
    for (int axis = 1; axis < rank; axis++) *row *= big_endian(data + 4 + 4 * axis);
    if (*count * *row != size - head) fail(path, "its length is not what its header says");
    return data + head;
}

int main(int argc, char **argv) {
    if (argc != 6) fail("usage", "train VALUES IMAGES LABELS EPOCHS OUT");
    int64_t size, count, labelled, pixels, one;
    uint8_t *values = read_file(argv[1], &size);
    uint8_t *images = read_idx(argv[2], 3, &count, &pixels);
    uint8_t *labels = read_idx(argv[3], 1, &labelled, &one);
    if (labelled != count) fail(argv[3], "there are not as many labels as images");
    if (pixels * 4 * 128 != net_tensor_bytes(NET_HIDDEN_W)) fail(argv[2], "the model is for pictures of another size");

    struct net_ctx *net;
    if (net_open(&net, NULL) != NET_OK) fail("net_open", "not enough memory");
    int64_t bytes = net_arena_bytes(count, 1); /* the test is one batch */
    void *arena = aligned_alloc(64, (size_t)(bytes + 64) / 64 * 64);
    if (net_set_arena(net, arena, bytes) != NET_OK) fail("net_set_arena", net_last_error(net));
    if (net_load(net, values, size) != NET_OK) fail(argv[1], net_last_error(net));

    int64_t training = count - count / 5;
    float loss, accuracy;
    for (int epoch = 1; epoch <= atoi(argv[4]); epoch++) {
        double sum = 0.0;
        for (int64_t start = 0; start < training; start += BATCH) {
            int64_t rows = training - start < BATCH ? training - start : BATCH;
            if (net_step(net, rows, images + start * pixels, labels + start, &loss, &accuracy) != NET_OK)
                fail("net_step", net_last_error(net));
            sum += (double)loss * (double)rows;
        }
        printf("epoch %d  loss %.4f\n", epoch, sum / (double)training);
    }

    uint8_t *rest = images + training * pixels;
    if (net_evaluate(net, count - training, rest, labels + training, &loss, &accuracy) != NET_OK)
        fail("net_evaluate", net_last_error(net));
    printf("test  loss %.4f  accuracy %.4f of %lld\n", loss, accuracy, (long long)(count - training));
    float probs[CLASSES];
    if (net_forward(net, 1, rest, probs) != NET_OK) fail("net_forward", net_last_error(net));
    int best = 0;
    for (int class = 1; class < CLASSES; class++)
        if (probs[class] > probs[best]) best = class;
    printf("the first of them is a %d (%.3f), its label is %d\n", best, probs[best], labels[training]);

    if (net_store(net, values, size) != NET_OK) fail("net_store", net_last_error(net));
    FILE *out = fopen(argv[5], "wb");
    if (!out || fwrite(values, 1, (size_t)size, out) != (size_t)size || fclose(out)) fail(argv[5], "cannot be written");
    net_close(net);
    free(arena);
    free(values);
    free(images - 16); /* where the files begin */
    free(labels - 8);
    return 0;
}
