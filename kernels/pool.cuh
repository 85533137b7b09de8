// What the two poolings share: which taps of a window lie on the image, and the place of a thread's element.

constexpr int THREADS = 256;

struct Taps {
    int first, last;  // the taps first ... last - 1 lie on the image
};

// The taps of a window whose tap 0 lies on row `start`, out of K taps D rows apart over an image of H rows: start + k * D
// is in 0 ... H - 1. For columns alike.
__device__ __forceinline__ Taps taps_on_image(int start, int K, int D, int H) {
    const int first = start >= 0 ? 0 : (D - 1 - start) / D;
    const int last = min(K, (H - 1 - start) / D + 1);
    return {first, last};
}

// The position (window.4) whose tap k lies on row r, or -1: r = i * S + k * D - before solved for i.
__device__ __forceinline__ int window_over(int r, int k, int S, int D, int before, int positions) {
    const int steps = r + before - k * D;
    return steps >= 0 && steps % S == 0 && steps / S < positions ? steps / S : -1;
}

// Where the element number `index` of an array (N, height, width, depth) is; the last axis runs fastest.
struct Place {
    int n, row, column, c;
};
__device__ __forceinline__ Place place_of(unsigned int index, int height, int width, int depth) {
    const unsigned int pixel = index / depth, line = pixel / width;
    return {static_cast<int>(line / height), static_cast<int>(line % height), static_cast<int>(pixel % width),
            static_cast<int>(index % depth)};
}
